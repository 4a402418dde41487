use serde_json::{Map, Value};

use crate::oci::{Healthcheck, ImageConfig};
use crate::operation::ConfigChange;

/// Applies one change to an image configuration.
///
/// `command_set` tells whether this stage has set a command of its own: an entrypoint clears only a command that the
/// base image brought.
pub fn configure(config: &mut ImageConfig, change: &ConfigChange, command_set: &mut bool) {
    let container = &mut config.config;
    match change {
        ConfigChange::Env(name, value) => container.set_env(name, value),
        ConfigChange::Label(name, value) => {
            container.labels.insert(name.clone(), value.clone());
        }
        ConfigChange::Author(author) => config.author = Some(author.clone()),
        ConfigChange::User(user) => container.user.clone_from(user),
        ConfigChange::WorkingDir(path) => container.working_dir.clone_from(path),
        ConfigChange::Shell(shell) => container.shell = Some(shell.clone()),
        ConfigChange::Entrypoint(words) => {
            container.entrypoint = (!words.is_empty()).then(|| words.clone());
            if !*command_set {
                container.cmd = None;
            }
        }
        ConfigChange::Command(words) => {
            container.cmd = (!words.is_empty()).then(|| words.clone());
            container.args_escaped = Some(true);
            *command_set = true;
        }
        ConfigChange::StopSignal(signal) => container.stop_signal.clone_from(signal),
        ConfigChange::Healthcheck(check) => container.healthcheck = Some(check.as_ref().map_or_else(no_check, healthcheck)),
        ConfigChange::ExposedPort(port) => {
            container.exposed_ports.insert(port.clone(), Value::Object(Map::new()));
        }
        ConfigChange::Volume(path) => {
            container.volumes.insert(path.clone(), Value::Object(Map::new()));
        }
        ConfigChange::OnBuild(text) => container.on_build.push(text.clone()),
    }
}

fn no_check() -> Healthcheck {
    Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() }
}

fn healthcheck(check: &crate::operation::Healthcheck) -> Healthcheck {
    let nanoseconds = |ms: Option<u64>| ms.filter(|ms| *ms > 0).map(|ms| ms.saturating_mul(1_000_000));
    Healthcheck {
        test: check.test.clone(),
        interval: nanoseconds(check.interval_ms),
        timeout: nanoseconds(check.timeout_ms),
        start_period: nanoseconds(check.start_period_ms),
        start_interval: nanoseconds(check.start_interval_ms),
        retries: check.retries.filter(|n| *n > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn an_entrypoint_clears_only_the_command_of_the_base() {
        let mut config = ImageConfig::default();
        config.config.cmd = Some(words(&["sh"]));
        let mut own = false;
        configure(&mut config, &ConfigChange::Entrypoint(words(&["/a"])), &mut own);
        assert_eq!(config.config.cmd, None);
        configure(&mut config, &ConfigChange::Command(words(&["b"])), &mut own);
        configure(&mut config, &ConfigChange::Entrypoint(words(&["/c"])), &mut own);
        assert_eq!(config.config.cmd, Some(words(&["b"])));
        configure(&mut config, &ConfigChange::Entrypoint(Vec::new()), &mut own);
        assert_eq!(config.config.entrypoint, None);
    }

    #[test]
    fn a_variable_that_is_set_again_keeps_its_place() {
        let mut config = ImageConfig::default();
        for (name, value) in [("A", "1"), ("B", "2"), ("A", "3")] {
            configure(&mut config, &ConfigChange::Env(name.to_owned(), value.to_owned()), &mut false);
        }
        assert_eq!(config.config.env, ["A=3", "B=2"]);
    }
}
