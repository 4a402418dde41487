//! `VOLUME`: paths that hold what outlives a container. They are named in the configuration and nothing more: later instructions
//! change what lies there as anywhere else.

use layerwright_plugin::Error;
use layerwright_plugin::instruction::{ArgumentForm, Instruction, Keyword};
use layerwright_plugin::operation::{ConfigChange, Operation};

pub(crate) fn keyword() -> Keyword {
    Keyword::new("VOLUME", ArgumentForm::ExecOrWords).expanded()
}

pub(crate) fn lower(instruction: &Instruction) -> Result<Vec<Operation>, Error> {
    let volumes = instruction.words();
    if volumes.is_empty() {
        return Err(crate::at_least_one(instruction));
    }
    let volume = |path: &String| match path.trim() {
        "" => Err(Error::invalid("VOLUME specified can not be an empty string")),
        path => Ok(ConfigChange::Volume(path.to_owned()).into()),
    };
    volumes.iter().map(volume).collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::{change, exec, lower, message, words};
    use layerwright_plugin::operation::ConfigChange;

    #[test]
    fn both_forms() {
        let volume = |path: &str| change(ConfigChange::Volume(path.to_owned()));
        assert_eq!(lower(&words("VOLUME", &["/a", "/b"])).unwrap(), [volume("/a"), volume("/b")]);
        assert_eq!(lower(&exec("VOLUME", &["/c d"])).unwrap(), [volume("/c d")]);
        assert_eq!(message(&exec("VOLUME", &[])), "VOLUME requires at least one argument");
        assert_eq!(message(&exec("VOLUME", &["/a", " "])), "VOLUME specified can not be an empty string");
    }
}
