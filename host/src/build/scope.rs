use std::collections::HashMap;

use crate::oci::Platform;

/// The variables in force at a line of a Dockerfile, and the build arguments declared so far.
///
/// ARG and ENV share one map in which the last declaration wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    variables: Vec<(String, String)>,
    /// Where each variable stands among them.
    places: HashMap<String, usize>,
    arguments: Vec<(String, Option<String>)>,
}

impl Scope {
    /// The scope at the start of a stage, from the `NAME=value` environment of its base image.
    pub fn from_environment(environment: &[String]) -> Self {
        let mut scope = Self::default();
        for pair in environment {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            scope.set(name, value);
        }
        scope
    }

    /// The value of a variable; none where it is not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).and_then(|place| self.variables.get(*place)).map(|(_, value)| value.as_str())
    }

    /// Sets a variable; one that is there keeps its place.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.places.get(name).and_then(|place| self.variables.get_mut(*place)) {
            Some((_, old)) => value.clone_into(old),
            None => {
                self.places.insert(name.to_owned(), self.variables.len());
                self.variables.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    /// Declares a build argument. One without a value changes no variable.
    pub fn declare(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = &value {
            self.set(name, value);
        }
        match self.arguments.iter_mut().find(|(declared, _)| declared == name) {
            Some((_, old)) => *old = value,
            None => self.arguments.push((name.to_owned(), value)),
        }
    }

    /// Whether a build argument is declared, with a value or without.
    pub fn declares(&self, name: &str) -> bool {
        self.arguments.iter().any(|(n, _)| n == name)
    }

    /// The names of all variables and declared build arguments.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let variables = self.variables.iter().map(|(name, _)| name.as_str());
        variables.chain(self.arguments.iter().map(|(name, _)| name.as_str()))
    }

    /// All variables, in the order of their first declaration: the environment of a process.
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// What the history of a command says of the build arguments: one without a value as an empty one.
    pub fn recorded(&self) -> Vec<(String, String)> {
        let value = |name: &str, own: &Option<String>| self.get(name).or(own.as_deref()).unwrap_or_default().to_owned();
        self.arguments.iter().map(|(name, own)| (name.clone(), value(name, own))).collect()
    }

    /// The build arguments that have a value, in the order of their first declaration.
    pub fn arguments(&self) -> Vec<(String, String)> {
        let valued = |(name, value): &(String, Option<String>)| {
            let value = value.as_ref()?;
            Some((name.clone(), self.get(name).unwrap_or(value).to_owned()))
        };
        self.arguments.iter().filter_map(valued).collect()
    }
}

/// Build arguments that a process sees without a declaration; they are neither in the history nor in a cache key.
pub const PROXY_ARGUMENTS: &[&str] = &["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Whether a build argument is one of the proxy arguments, in upper or lower case.
pub fn is_proxy_argument(name: &str) -> bool {
    PROXY_ARGUMENTS.iter().any(|proxy| name == *proxy || name == proxy.to_ascii_lowercase())
}

/// The arguments that every Dockerfile has in its global scope.
pub fn platform_arguments(build: &Platform, target: &Platform, stage: Option<&str>) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (prefix, platform) in [("BUILD", build), ("TARGET", target)] {
        let parts = [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os.clone()),
            ("OSVERSION", String::new()),
            ("ARCH", platform.architecture.clone()),
            ("VARIANT", platform.variant.clone().unwrap_or_default()),
        ];
        all.extend(parts.into_iter().map(|(name, value)| (format!("{prefix}{name}"), value)));
    }
    all.push(("TARGETSTAGE".to_owned(), stage.unwrap_or("default").to_owned()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_declaration_wins() {
        let mut scope = Scope::from_environment(&["X=image".to_owned()]);
        scope.declare("X", None);
        assert_eq!(scope.get("X"), Some("image"));
        scope.declare("X", Some("arg".to_owned()));
        assert_eq!(scope.get("X"), Some("arg"));
        scope.set("X", "env");
        assert_eq!(scope.get("X"), Some("env"));
        assert_eq!(scope.arguments(), [("X".to_owned(), "env".to_owned())]);
    }

    #[test]
    fn an_argument_without_a_value_is_not_in_the_environment() {
        let mut scope = Scope::default();
        scope.declare("A", None);
        scope.declare("B", Some(String::new()));
        assert_eq!(scope.variables(), [("B".to_owned(), String::new())]);
    }
}
