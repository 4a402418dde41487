//! What root may do in a step.

use rustix::io;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// Docker's default: fourteen capabilities, `a80425fb`.
pub const DEFAULT_CAPABILITIES: u64 = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::AUDIT_WRITE)
    .union(CapabilitySet::SETFCAP)
    .bits();

/// Takes every other capability out of the bounding set, so that no program file gives it back.
pub(super) fn bound(allowed: u64) -> io::Result<()> {
    for number in 0..u64::BITS {
        let bit = 1u64 << number;
        if allowed & bit == 0 {
            // What is not in it can be taken out by nobody, and need not be.
            match capability_is_in_bounding_set(CapabilitySet::from_bits_retain(bit)).and_then(|there| match there {
                true => remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(bit)),
                false => Ok(()),
            }) {
                Ok(()) => {}
                // Beyond the last capability of this kernel.
                Err(io::Errno::INVAL) => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Keeps `allowed` of what the process has; nothing is inheritable or ambient.
pub(super) fn keep(allowed: u64) -> io::Result<()> {
    let kept = capabilities(None)?.permitted & CapabilitySet::from_bits_retain(allowed);
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)?;
    clear_ambient_capability_set()
}

/// Whether mounts and namespaces are ours to make.
pub(super) fn may_administer() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

#[cfg(test)]
mod tests {
    #[test]
    fn default_is_dockers() {
        assert_eq!(super::DEFAULT_CAPABILITIES, 0xa804_25fb);
    }
}
