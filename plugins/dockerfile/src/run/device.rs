//! `RUN --device`.

use layerwright_plugin::Error;
use layerwright_plugin::operation::Device;

use super::fields;
use crate::suggest::or_near;

/// Reads one value of the flag: the name of a device in the Container Device Interface, by itself or after `name=`, and `required`.
pub(super) fn parse(value: &str) -> Result<Device, Error> {
    let mut device = Device { name: String::new(), required: false };
    for field in fields::split(value, "devices")? {
        let (key, value) = field.split_once('=').map_or((field.as_str(), None), |(key, value)| (key, Some(value)));
        let name = match key.to_ascii_lowercase().as_str() {
            "required" => {
                device.required = super::switch("required", value)?;
                continue;
            }
            "name" => value.unwrap_or_default().to_owned(),
            _ if key.contains('/') => field,
            key => return Err(Error::invalid(or_near(format!("unexpected key '{key}' in '{field}'"), key, &["name", "required"]))),
        };
        if !device.name.is_empty() {
            return Err(Error::invalid(format!("device name already set to {}", device.name)));
        }
        device.name = name;
    }
    if !is_qualified(&device.name) {
        return Err(Error::invalid(format!("invalid device name {:?}", device.name))
            .hint("devices are named as in the Container Device Interface: `vendor.com/class=name`"));
    }
    Ok(device)
}

/// `vendor.com/class`, perhaps with `=name`.
fn is_qualified(name: &str) -> bool {
    let (kind, device) = name.split_once('=').map_or((name, None), |(kind, device)| (kind, Some(device)));
    let word = |text: &str, extra: &[char]| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(&c))
    };
    let kind = kind.split_once('/').is_some_and(|(vendor, class)| word(vendor, &['_', '-', '.']) && word(class, &['_', '-']));
    kind && device.is_none_or(|device| device == "*" || word(device, &['_', '-', '.', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<(String, bool), String> {
        parse(value).map(|device| (device.name, device.required)).map_err(|error| error.message)
    }

    #[test]
    fn devices() {
        for (value, name, required) in [
            ("vendor1.com/device=foo", "vendor1.com/device=foo", false),
            ("vendor1.com/device", "vendor1.com/device", false),
            ("vendor1.com/device=*", "vendor1.com/device=*", false),
            ("vendor1.com/device=foo,required", "vendor1.com/device=foo", true),
            ("vendor1.com/device=foo,required=false", "vendor1.com/device=foo", false),
            ("required,name=vendor1.com/device=foo", "vendor1.com/device=foo", true),
        ] {
            assert_eq!(read(value), Ok((name.to_owned(), required)), "{value}");
        }
    }

    #[test]
    fn what_is_no_device() {
        let twice = "vendor1.com/device=foo,name=vendor2.com/device=bar";
        assert_eq!(read(twice), Err("device name already set to vendor1.com/device=foo".to_owned()));
        assert_eq!(read("nam=v.com/d=x").unwrap_err(), "unexpected key 'nam' in 'nam=v.com/d=x' (did you mean name?)");
        for value in ["", "gpu", "/dev/kvm", "v.com/d=", "v.com/-d=x", "v.com/d=x,required=maybe", "required"] {
            assert!(read(value).is_err(), "{value}");
        }
    }
}
