//! `RUN`: a process in the root filesystem.

mod device;
mod fields;
mod mount;
mod size;

use layerwright_plugin::instruction::{ArgumentForm, Arguments, FlagSpec, Instruction, Keyword, Stage};
use layerwright_plugin::operation::{Exec, InlineFile, MountSource, Network, Operation, Source};
use layerwright_plugin::{Error, Property};

/// Where the body of a here-document that names its own interpreter lies while it runs.
const PIPES: &str = "/dev/pipes";

pub(crate) fn keyword() -> Keyword {
    Keyword::new("RUN", ArgumentForm::ExecOrShell)
        .with_heredocs()
        .flag(FlagSpec::value("mount").repeated().expanded())
        .flag(FlagSpec::value("network"))
        .flag(FlagSpec::value("security"))
        .flag(FlagSpec::value("device").repeated())
}

pub(crate) fn lower(instruction: &Instruction, stage: &Stage) -> Result<Vec<Operation>, Error> {
    let mut exec = command(instruction, stage)?;
    let mounts = mount::parse_all(instruction.flag_values("mount"), &stage.working_dir)?;
    exec.mounts.extend(mounts.mounts);
    let has_agent = |variables: &[Property]| variables.iter().any(|variable| variable.name == "SSH_AUTH_SOCK");
    if let Some(socket) = mounts.agent.filter(|_| !has_agent(&stage.env) && !has_agent(&stage.build_args)) {
        exec = exec.env("SSH_AUTH_SOCK", socket);
    }
    exec.network = network(instruction.flag("network"))?;
    exec.privileged = privileged(instruction.flag("security"))?;
    exec.devices = instruction.flag_values("device").map(device::parse).collect::<Result<_, _>>()?;
    Ok(vec![exec.into()])
}

fn command(instruction: &Instruction, stage: &Stage) -> Result<Exec, Error> {
    let line = match &instruction.arguments {
        Arguments::Exec(arguments) if arguments.is_empty() => return Err(Error::invalid("RUN requires a command")),
        Arguments::Exec(arguments) => return Ok(Exec::new(arguments.iter().cloned())),
        _ => instruction.text_argument(),
    };
    match instruction.heredocs.as_slice() {
        [] => Ok(Exec::shell(stage, line)),
        [heredoc] if crate::heredoc::delimiter(line).is_some_and(|name| name == heredoc.name) => {
            if !heredoc.content.starts_with("#!") {
                return Ok(Exec::shell(stage, heredoc.content.clone()));
            }
            // The kernel finds the interpreter, as it does for any script.
            let name = crate::path::base(&heredoc.name);
            let path = format!("{PIPES}/{name}");
            let file = InlineFile { mode: 0o755, ..InlineFile::new(name, heredoc.content.clone()) };
            Ok(Exec::shell(stage, path.clone()).mount(path, MountSource::bind(Source::Inline(vec![file]), name)))
        }
        heredocs => Ok(Exec::shell(stage, crate::heredoc::append(line, heredocs))),
    }
}

/// A switch as Go reads one.
fn switch(key: &str, value: Option<&str>) -> Result<bool, Error> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(Error::invalid(format!("invalid value for {key}: {other}"))),
    }
}

fn network(value: Option<&str>) -> Result<Network, Error> {
    match value.unwrap_or_default() {
        "" | "default" => Ok(Network::Default),
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        other => {
            Err(Error::invalid(crate::suggest::or_near(format!("invalid network mode {other:?}"), other, &["default", "none", "host"])))
        }
    }
}

fn privileged(value: Option<&str>) -> Result<bool, Error> {
    match value.unwrap_or_default() {
        "" | "sandbox" => Ok(false),
        "insecure" => Ok(true),
        other => Err(Error::invalid(crate::suggest::or_near(format!("security {other:?} is not valid"), other, &["sandbox", "insecure"]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{exec, message, stage, text};

    fn lower(instruction: &Instruction) -> Exec {
        match crate::testing::lower(instruction).unwrap().as_slice() {
            [Operation::Exec(exec)] => exec.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn forms() {
        assert_eq!(lower(&exec("RUN", &["a", "$X"])), Exec::new(["a", "$X"]));
        assert_eq!(lower(&text("RUN", "echo \"a\" $y")), Exec::new(["/bin/sh", "-c", "echo \"a\" $y"]));
        assert_eq!(lower(&text("RUN", "")), Exec::new(["/bin/sh", "-c", ""]));
        assert_eq!(message(&exec("RUN", &[])), "RUN requires a command");
    }

    #[test]
    fn a_body_alone_is_the_script() {
        let instruction = text("RUN", "<<EOF").with_heredoc("EOF", "a\nb $x\n");
        assert_eq!(lower(&instruction), Exec::new(["/bin/sh", "-c", "a\nb $x\n"]));
        let bash = Stage { shell: vec!["/bin/bash".to_owned(), "-c".to_owned()], ..stage() };
        assert_eq!(crate::lower(&instruction, &bash).unwrap().operations, [Exec::new(["/bin/bash", "-c", "a\nb $x\n"]).into()]);
        assert_eq!(lower(&text("RUN", "<<-'E F'").with_heredoc("E F", "")), Exec::new(["/bin/sh", "-c", ""]));
    }

    #[test]
    fn a_body_that_names_its_interpreter_is_a_file() {
        let body = "#!/usr/bin/env python\nprint(1)\n";
        let instruction = text("RUN", "<<EOF").with_heredoc("EOF", body).with_flag("mount", "target=/m");
        let file = InlineFile { name: "EOF".to_owned(), content: body.as_bytes().to_vec(), mode: 0o755 };
        let expected = Exec::new(["/bin/sh", "-c", "/dev/pipes/EOF"])
            .mount("/dev/pipes/EOF", MountSource::bind(Source::Inline(vec![file]), "EOF"))
            .mount("/m", MountSource::bind(Source::main_context(), "/"));
        assert_eq!(lower(&instruction), expected);
    }

    #[test]
    fn any_other_text_goes_to_the_shell_with_its_bodies() {
        for (line, heredocs, expected) in [
            ("cat <<EOF > /x", &[("EOF", "a\n")][..], "cat <<EOF > /x\na\nEOF"),
            ("<<EOF bash -e", &[("EOF", "a\n")], "<<EOF bash -e\na\nEOF"),
            ("cat 3<<A <<B", &[("A", "a\n"), ("B", "#!b\n")], "cat 3<<A <<B\na\nA\n#!b\nB"),
        ] {
            let instruction =
                heredocs.iter().fold(text("RUN", line), |instruction, (name, content)| instruction.with_heredoc(*name, *content));
            assert_eq!(lower(&instruction), Exec::new(["/bin/sh", "-c", expected]));
        }
    }

    #[test]
    fn network_and_security() {
        for (value, expected) in [("default", Network::Default), ("none", Network::None), ("host", Network::Host)] {
            assert_eq!(lower(&text("RUN", "x").with_flag("network", value)).network, expected);
        }
        assert!(lower(&text("RUN", "x").with_flag("security", "insecure")).privileged);
        assert!(!lower(&text("RUN", "x").with_flag("security", "sandbox")).privileged);
        assert_eq!(message(&text("RUN", "x").with_flag("security", "foo")), "security \"foo\" is not valid");
        assert_eq!(message(&text("RUN", "x").with_flag("network", "non")), "invalid network mode \"non\" (did you mean none?)");
    }

    #[test]
    fn devices_are_named() {
        let run = lower(&text("RUN", "x").with_flag("device", "vendor.com/d=x").with_flag("device", "vendor.com/e,required"));
        let named: Vec<_> = run.devices.iter().map(|device| (device.name.as_str(), device.required)).collect();
        assert_eq!(named, [("vendor.com/d=x", false), ("vendor.com/e", true)]);
    }

    #[test]
    fn an_agent_of_the_stage_s_own_stays() {
        let instruction = text("RUN", "x").with_flag("mount", "type=ssh");
        let own = Stage { env: vec![Property::new("SSH_AUTH_SOCK", "/own")], ..stage() };
        let [Operation::Exec(run)] = &*crate::lower(&instruction, &own).unwrap().operations else { panic!("one operation") };
        assert!(run.env.is_empty());
    }

    #[test]
    fn agents_are_named_to_the_process() {
        let run = lower(&text("RUN", "x").with_flag("mount", "type=ssh").with_flag("mount", "type=ssh,id=k,target=/s"));
        assert_eq!(run.env, [layerwright_plugin::Property::new("SSH_AUTH_SOCK", "/run/buildkit/ssh_agent.0")]);
        assert_eq!(run.mounts.len(), 2);
    }
}
