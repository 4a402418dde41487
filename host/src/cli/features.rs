//! kaniko's feature flags, each with what is so here whatever it says. The one that changes something is read where it does.

use super::env;

const PREFIX: &str = "FF_KANIKO_";

/// The flags that change nothing, without their prefix, and what is always so.
pub(super) const ALWAYS: [(&str, &str); 36] = [
    ("BUILDKIT_ARG_ENV_PRECEDENCE", "ENV counts before ARG, as in BuildKit"),
    ("CLEAN_KANIKO_DIR", "a build removes what it had for itself alone"),
    ("DEPRECATE_INTER_STAGE_RESTORE", "--preserve-context brings the files back once, at the end"),
    ("NO_PROPAGATE_ANNOTATIONS", "the annotations of a base image are its own; --annotation gives the image some"),
    ("OCI_WARMER", "a warmer writes OCI layouts"),
    ("PRESERVE_HARDLINKS", "hard links stay hard links"),
    ("RELATIVE_LINK_TARGETS", "links keep the target that they have"),
    ("PRESERVE_MOUNTED_PATHS", "what is mounted is left alone"),
    ("RUN_MOUNT_BIND", "RUN --mount=type=bind works"),
    ("SECUREJOIN_EXTRACTION", "nothing is extracted beyond the root"),
    ("VOLUME_SKIP_MKDIR", "VOLUME makes no directory"),
    ("WARMER_CACHE_LOCK", "warmers of one image take turns"),
    ("CACHE_LOOKAHEAD", "all lookups that can be known are made at once"),
    ("CACHE_PROBE_AFTER_MISS", "a miss does not end the lookups"),
    ("CHOWN_ON_IMPLICIT_DIRS", "directories that COPY has to make get the owner of --chown, as in BuildKit"),
    ("COPY_AS_ROOT", "what COPY brings is owned by root where --chown says nothing else"),
    ("COPY_CHMOD_ON_IMPLICIT_DIRS", "directories that COPY has to make have the mode that BuildKit gives them"),
    ("CROSS_REPO_MOUNT", "blobs that the registry has are mounted"),
    ("EXPAND_HEREDOC", "here-documents are expanded unless their word is quoted"),
    ("HASH_DIR_FRAMING", "keys are made of parts with their lengths"),
    ("IGNORE_CACHED_MANIFEST", "a record of the cache says what its layer is, and its manifest is not part of the image"),
    ("INFER_CROSS_STAGE_CACHE_KEY", "what is copied from a stage counts by its content"),
    ("OCI_SCRATCH_BASE", "an image from scratch has the types of the OCI unless --image-format says otherwise"),
    ("PATH_SCOPED_REGISTRY_AUTH", "a login may be for a namespace, and the longest that fits counts"),
    ("PRECOMPILE_DOCKERIGNORE", "ignore files are read once"),
    ("REPRODUCIBLE_PRESERVE_BASE_LAYERS", "layers of the base image stay as they are"),
    ("RESOLVE_CACHE_KEY", "keys are made after variables have been put in"),
    ("ROLLING_CACHE_KEY", "a key holds the key of the step before"),
    ("RUN_HONOR_GROUP", "RUN has the group that USER names"),
    ("RUN_VIA_TINI", "RUN has an init that reaps"),
    ("SCOPED_DOCKERIGNORE", "an ignore file counts for its own context"),
    ("SHARED_BASE_CACHE", "a base image is fetched and unpacked once"),
    ("SKIP_CACHED_STAGES", "a stage that the cache has whole is not unpacked"),
    ("SKIP_RELABEL_RECOMPRESS", "layers get other labels without being compressed again"),
    ("SKIP_WRITE_WHITEOUTS", "whiteouts are in layers, and never files of the tree"),
    ("UNTAR_SKIP_ROOT", "the root directory of an archive changes nothing"),
];

/// A sentence for each flag that is set and changes nothing.
pub(super) fn notes(set: &[String]) -> impl Iterator<Item = String> {
    let flags = set.iter().filter(|name| name.starts_with(PREFIX) && *name != env::FF_KANIKO_DISABLE_HTTP2);
    flags.map(|name| match ALWAYS.iter().find(|(known, _)| name.strip_prefix(PREFIX) == Some(known)) {
        Some((_, always)) => format!("{name} in the environment without effect: {always}"),
        None => format!("{name} in the environment without effect: no such flag of kaniko's is known"),
    })
}
