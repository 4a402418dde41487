//! The build checks that the standard instructions warn by. Names, words and pages are BuildKit's, so that `# check=skip=` of existing
//! Dockerfiles works.

use layerwright_plugin::instruction::{Instruction, Rule, Warning};

const JSON_ARGS_RECOMMENDED: &str = "JSONArgsRecommended";
const MAINTAINER_DEPRECATED: &str = "MaintainerDeprecated";
const WORKDIR_RELATIVE_PATH: &str = "WorkdirRelativePath";
const EXPOSE_PROTO_CASING: &str = "ExposeProtoCasing";
const EXPOSE_INVALID_FORMAT: &str = "ExposeInvalidFormat";

/// All of them.
pub(crate) fn all() -> [Rule; 5] {
    let rule = |name: &str, page: &str, description: &str| {
        Rule::new(name, description).url(format!("https://docs.docker.com/go/dockerfile/rule/{page}/"))
    };
    [
        rule(
            JSON_ARGS_RECOMMENDED,
            "json-args-recommended",
            "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
        ),
        rule(
            MAINTAINER_DEPRECATED,
            "maintainer-deprecated",
            "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
        ),
        rule(
            WORKDIR_RELATIVE_PATH,
            "workdir-relative-path",
            "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
        ),
        rule(EXPOSE_PROTO_CASING, "expose-proto-casing", "Protocol in EXPOSE instruction should be lowercase"),
        rule(
            EXPOSE_INVALID_FORMAT,
            "expose-invalid-format",
            "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
        ),
    ]
}

pub(crate) fn json_args_recommended(instruction: &Instruction) -> Warning {
    let message = "to prevent unintended behavior related to OS signals";
    Warning::new(JSON_ARGS_RECOMMENDED, format!("JSON arguments recommended for {} {message}", instruction.keyword()))
}

pub(crate) fn maintainer_deprecated() -> Warning {
    Warning::new(MAINTAINER_DEPRECATED, "Maintainer instruction is deprecated in favor of using label")
}

pub(crate) fn workdir_relative_path(path: &str) -> Warning {
    Warning::new(WORKDIR_RELATIVE_PATH, format!("Relative workdir {path:?} can have unexpected results if the base image changes"))
}

pub(crate) fn expose_proto_casing(port: &str) -> Warning {
    Warning::new(EXPOSE_PROTO_CASING, format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase"))
}

pub(crate) fn expose_invalid_format(port: &str) -> Warning {
    let message = "EXPOSE instruction should not define an IP address or host-port mapping";
    Warning::new(EXPOSE_INVALID_FORMAT, format!("{message}, found '{port}'"))
}
