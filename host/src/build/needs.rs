//! What the processes of a step need of the operator, seen to before anything runs.

use super::error::Failure;
use super::lowering::Step;
use super::settings::RunSettings;
use crate::operation::{Exec, MountSource, Network, Operation};

/// Checks the processes of a step.
///
/// # Errors
/// An entitlement, a secret or an agent that the step needs and the operator has not given.
pub fn check(step: &Step, settings: &RunSettings) -> Result<(), Failure> {
    step.tasks.iter().try_for_each(|task| match &task.operation {
        Operation::Exec(exec) => check_exec(exec, settings),
        _ => Ok(()),
    })
}

fn check_exec(exec: &Exec, settings: &RunSettings) -> Result<(), Failure> {
    let entitlements = &settings.entitlements;
    if exec.network == Network::Host && !entitlements.network_host {
        return Err(denied("network.host"));
    }
    if exec.privileged && !entitlements.security_insecure {
        return Err(denied("security.insecure"));
    }
    if let Some(device) = exec.devices.iter().find(|device| device.required && !may_use(&device.name, settings)) {
        return Err(Failure::new(format!("entitlement device is not allowed for {}", device.name))
            .hint(format!("the operator allows it with --allow device={}", device.name)));
    }
    exec.mounts.iter().try_for_each(|mount| match &mount.source {
        MountSource::Secret { id, required: true, .. } if !settings.secrets.iter().any(|secret| secret.id == *id) => {
            Err(Failure::new(format!("secret {id}: not found"))
                .hint(format!("give it with --secret id={id},src=FILE or --secret id={id},env=NAME")))
        }
        MountSource::Ssh { id, required: true, .. } if !settings.ssh.iter().any(|agent| agent.id == *id) => {
            Err(Failure::new(format!("ssh {id}: no such agent"))
                .hint(format!("forward your agent with --ssh {id}, or name a key with --ssh {id}=FILE")))
        }
        _ => Ok(()),
    })
}

fn denied(entitlement: &str) -> Failure {
    Failure::new(format!("entitlement {entitlement} is not allowed"))
        .hint(format!("the operator allows it with --allow {entitlement}; a Dockerfile cannot"))
}

/// Whether a device, or a kind of devices, may be used.
pub fn may_use(name: &str, settings: &RunSettings) -> bool {
    let kind = name.split('=').next().unwrap_or_default();
    settings.entitlements.all_devices || settings.entitlements.devices.iter().any(|allowed| allowed == name || allowed == kind)
}

#[cfg(test)]
mod tests {
    use super::super::settings::Entitlements;
    use super::*;

    #[test]
    fn devices_are_allowed_by_name_or_kind() {
        let allow = |devices: &[&str]| RunSettings {
            entitlements: Entitlements { devices: devices.iter().map(|name| (*name).to_owned()).collect(), ..Entitlements::default() },
            ..RunSettings::default()
        };
        assert!(may_use("v.com/d=a", &allow(&["v.com/d=a"])));
        assert!(may_use("v.com/d=a", &allow(&["v.com/d"])));
        assert!(!may_use("v.com/d=b", &allow(&["v.com/d=a"])));
        assert!(!may_use("v.com/d=*", &allow(&["v.com/d=a"])));
        assert!(!may_use("v.com/d", &allow(&["v.com/d=a"])));
    }
}
