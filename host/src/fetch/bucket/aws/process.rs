//! A program of the operator's that knows the login (AWS SDKs and Tools Reference, "Process credential provider").

use std::process::Command;
use std::time::Duration;

use object_store::aws::AwsCredential;

use super::{Answer, Refused};
use crate::helper;

/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the program of a profile, without a shell and without what is secret in the environment, and takes what it prints for the login.
pub(super) async fn run(profile: &str, line: &str, secret_variables: &[String]) -> Result<AwsCredential, Refused> {
    let refused = |why: String| format!("the credential_process of the AWS profile {profile}: {why}");
    let words = shlex::split(line).ok_or_else(|| refused("its quotes do not match".to_owned()))?;
    let [program, arguments @ ..] = words.as_slice() else { return Err(refused("it is empty".to_owned()).into()) };
    let mut command = Command::new(program);
    command.args(arguments);
    for name in secret_variables {
        command.env_remove(name);
    }
    let done = tokio::task::spawn_blocking(move || helper::run(command, b"", PATIENCE)).await;
    let done = done.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    let (succeeded, printed) = done.map_err(|error| refused(error.to_string()))?;
    if !succeeded {
        return Err(refused("it failed".to_owned()).into());
    }
    Ok(Answer::credential(&printed, "it").map_err(refused)?)
}
