use std::borrow::Cow;

/// A build check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// As `# check=skip=` names it.
    pub name: Cow<'static, str>,
    /// What is wrong where it warns, in one line.
    pub description: Cow<'static, str>,
    /// Where to read more.
    pub url: Option<Cow<'static, str>>,
    /// Whether it is applied only where the user asks for it.
    pub experimental: bool,
}

impl Rule {
    /// A rule that somebody else declares.
    pub fn declared(name: String, description: String, url: Option<String>, experimental: bool) -> Self {
        Self { name: Cow::Owned(name), description: Cow::Owned(description), url: url.map(Cow::Owned), experimental }
    }

    const fn new(name: &'static str, url: &'static str, description: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), description: Cow::Borrowed(description), url: Some(Cow::Borrowed(url)), experimental: false }
    }

    const fn asked_for(name: &'static str, url: &'static str, description: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), description: Cow::Borrowed(description), url: Some(Cow::Borrowed(url)), experimental: true }
    }

    const fn without_page(name: &'static str, description: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), description: Cow::Borrowed(description), url: None, experimental: false }
    }
}

/// The rules that the host applies itself.
pub mod host {
    use super::Rule;

    macro_rules! page {
        ($page:literal) => {
            concat!("https://docs.docker.com/go/dockerfile/rule/", $page, "/")
        };
    }

    /// A stage's name has upper case letters.
    pub static STAGE_NAME_CASING: Rule = Rule::new("StageNameCasing", page!("stage-name-casing"), "Stage names should be lowercase");
    /// `AS` and `FROM` differ in case.
    pub static FROM_AS_CASING: Rule =
        Rule::new("FromAsCasing", page!("from-as-casing"), "The 'as' keyword should match the case of the 'from' keyword");
    /// A blank line inside of an instruction.
    pub static NO_EMPTY_CONTINUATION: Rule =
        Rule::new("NoEmptyContinuation", page!("no-empty-continuation"), "Empty continuation lines will become errors in a future release");
    /// Keywords in upper and in lower case.
    pub static CONSISTENT_INSTRUCTION_CASING: Rule = Rule::new(
        "ConsistentInstructionCasing",
        page!("consistent-instruction-casing"),
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
    );
    /// Two stages of one name.
    pub static DUPLICATE_STAGE_NAME: Rule = Rule::new("DuplicateStageName", page!("duplicate-stage-name"), "Stage names should be unique");
    /// A stage called `scratch` or `context`.
    pub static RESERVED_STAGE_NAME: Rule =
        Rule::new("ReservedStageName", page!("reserved-stage-name"), "Reserved words should not be used as stage names");
    /// FROM with an argument that nothing declares.
    pub static UNDEFINED_ARG_IN_FROM: Rule =
        Rule::new("UndefinedArgInFrom", page!("undefined-arg-in-from"), "FROM command must use declared ARGs");
    /// A variable that nothing sets.
    pub static UNDEFINED_VAR: Rule = Rule::new("UndefinedVar", page!("undefined-var"), "Variables should be defined before their use");
    /// An instruction that a later one of its kind undoes.
    pub static MULTIPLE_INSTRUCTIONS_DISALLOWED: Rule = Rule::new(
        "MultipleInstructionsDisallowed",
        page!("multiple-instructions-disallowed"),
        "Multiple instructions of the same type should not be used in the same stage",
    );
    /// `ENV name value`.
    pub static LEGACY_KEY_VALUE_FORMAT: Rule = Rule::new(
        "LegacyKeyValueFormat",
        page!("legacy-key-value-format"),
        "Legacy key/value format with whitespace separator should not be used",
    );
    /// A base image for another platform.
    pub static INVALID_BASE_IMAGE_PLATFORM: Rule =
        Rule::without_page("InvalidBaseImagePlatform", "Base image platform does not match expected target platform");
    /// `--platform=$TARGETPLATFORM`.
    pub static REDUNDANT_TARGET_PLATFORM: Rule = Rule::new(
        "RedundantTargetPlatform",
        page!("redundant-target-platform"),
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    );
    /// A secret in the image's configuration.
    pub static SECRETS_USED_IN_ARG_OR_ENV: Rule = Rule::new(
        "SecretsUsedInArgOrEnv",
        page!("secrets-used-in-arg-or-env"),
        "Sensitive data should not be used in the ARG or ENV commands",
    );
    /// FROM that only build arguments make right.
    pub static INVALID_DEFAULT_ARG_IN_FROM: Rule = Rule::new(
        "InvalidDefaultArgInFrom",
        page!("invalid-default-arg-in-from"),
        "Default value for global ARG results in an empty or invalid base image name",
    );
    /// `--platform=linux/amd64`.
    pub static FROM_PLATFORM_FLAG_CONST_DISALLOWED: Rule = Rule::new(
        "FromPlatformFlagConstDisallowed",
        page!("from-platform-flag-const-disallowed"),
        "FROM --platform flag should not use a constant value",
    );
    /// A copy of what the ignore file leaves out.
    pub static COPY_IGNORED_FILE: Rule =
        Rule::new("CopyIgnoredFile", page!("copy-ignored-file"), "Attempting to Copy file that is excluded by .dockerignore");
    /// A comment that describes something else than what stands below it.
    pub static INVALID_DEFINITION_DESCRIPTION: Rule = Rule::asked_for(
        "InvalidDefinitionDescription",
        page!("invalid-definition-description"),
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a \
         description comment, add an empty line or comment between the instruction and the comment.",
    );

    /// All of them.
    pub static ALL: &[&Rule] = &[
        &STAGE_NAME_CASING,
        &FROM_AS_CASING,
        &NO_EMPTY_CONTINUATION,
        &CONSISTENT_INSTRUCTION_CASING,
        &DUPLICATE_STAGE_NAME,
        &RESERVED_STAGE_NAME,
        &UNDEFINED_ARG_IN_FROM,
        &UNDEFINED_VAR,
        &MULTIPLE_INSTRUCTIONS_DISALLOWED,
        &LEGACY_KEY_VALUE_FORMAT,
        &INVALID_BASE_IMAGE_PLATFORM,
        &REDUNDANT_TARGET_PLATFORM,
        &SECRETS_USED_IN_ARG_OR_ENV,
        &INVALID_DEFAULT_ARG_IN_FROM,
        &FROM_PLATFORM_FLAG_CONST_DISALLOWED,
        &COPY_IGNORED_FILE,
        &INVALID_DEFINITION_DESCRIPTION,
    ];
}
