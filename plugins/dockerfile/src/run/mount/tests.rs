use layerwright_plugin::operation::{BindMount, CacheMount, Mount, MountSource, Ownership, SecretMount, Sharing, Source, SshMount};

use super::parse_all;

fn mounts(value: &str) -> Vec<Mount> {
    parse_all([value].into_iter(), "/w").unwrap().mounts
}

fn one(value: &str) -> (String, MountSource) {
    let mut mounts = mounts(value);
    assert_eq!(mounts.len(), 1, "{value}");
    let mount = mounts.remove(0);
    (mount.target, mount.source)
}

fn error(value: &str) -> String {
    match parse_all([value].into_iter(), "/") {
        Err(error) => error.message,
        Ok(_) => panic!("{value}"),
    }
}

fn bind(from: Source, path: &str, writable: bool) -> MountSource {
    MountSource::Bind(BindMount { from, path: path.to_owned(), writable })
}

fn cache(id: &str) -> CacheMount {
    CacheMount {
        id: id.to_owned(),
        from: None,
        path: "/".to_owned(),
        sharing: Sharing::Shared,
        writable: true,
        ownership: Ownership::default(),
    }
}

fn secret(id: &str) -> SecretMount {
    SecretMount { id: id.to_owned(), as_env: false, as_file: true, required: false, ownership: Ownership::default() }
}

fn ownership(owner: &str, mode: &str) -> Ownership {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Ownership { owner: some(owner), mode: some(mode) }
}

#[test]
fn binds() {
    let context = Source::main_context;
    for (value, target, source) in [
        ("target=/m", "/m", bind(context(), "/", false)),
        ("type=bind,src=s,dst=/m,rw", "/m", bind(context(), "/s", true)),
        ("TYPE=bind,Source=../s/,destination=m", "/w/m", bind(context(), "/s", false)),
        ("from=a,target=/m,source=/q,readwrite=true", "/m", bind(Source::Stage("a".to_owned()), "/q", true)),
        ("target=/m,ro=false", "/m", bind(context(), "/", true)),
        ("from=,target=/m", "/m", bind(context(), "/", false)),
        ("type=bind", "/w", bind(context(), "/", false)),
        ("\"target=/a,b\",ro", "/a,b", bind(context(), "/", false)),
    ] {
        assert_eq!(one(value), (target.to_owned(), source), "{value}");
    }
}

#[test]
fn caches() {
    for (value, target, expected) in [
        ("type=cache,target=/c/../d", "/d", cache("/d")),
        ("type=cache,target=c", "/w/c", cache("c")),
        (
            "type=cache,id=k,target=/c,sharing=locked,uid=1,gid=2,mode=0700",
            "/c",
            CacheMount { sharing: Sharing::Locked, ownership: ownership("1:2", "0700"), ..cache("k") },
        ),
        (
            "type=cache,target=/c,from=img,source=/s,ro,sharing=private,gid=5",
            "/c",
            CacheMount {
                from: Some(Source::Stage("img".to_owned())),
                path: "/s".to_owned(),
                writable: false,
                sharing: Sharing::Private,
                ownership: ownership("0:5", ""),
                ..cache("/c")
            },
        ),
    ] {
        assert_eq!(one(value), (target.to_owned(), MountSource::Cache(expected)), "{value}");
    }
}

#[test]
fn memory() {
    assert_eq!(one("type=tmpfs,target=/t"), ("/t".to_owned(), MountSource::Tmpfs(None)));
    assert_eq!(one("type=tmpfs,target=/t,size=64m"), ("/t".to_owned(), MountSource::Tmpfs(Some(64 << 20))));
}

#[test]
fn secrets() {
    for (value, target, expected) in [
        ("type=secret,id=a", "/run/secrets/a", secret("a")),
        ("type=secret,src=a", "/run/secrets/a", secret("a")),
        ("type=secret,target=/x/y", "/x/y", secret("y")),
        ("type=secret,id=d/a,target=rel", "/w/rel", secret("d/a")),
        ("type=secret,id=d/a", "/run/secrets/a", secret("d/a")),
        ("type=secret,id=a,target=/s,mode=0440,uid=5", "/s", SecretMount { ownership: ownership("5:0", "0440"), ..secret("a") }),
        ("type=secret,id=a,env=E", "E", SecretMount { as_env: true, as_file: false, ..secret("a") }),
        ("type=secret,id=a,required", "/run/secrets/a", SecretMount { required: true, ..secret("a") }),
    ] {
        assert_eq!(one(value), (target.to_owned(), MountSource::Secret(expected)), "{value}");
    }
}

#[test]
fn a_secret_can_be_both() {
    let both = mounts("type=secret,id=a,env=E,target=/z,required=true");
    let expected = SecretMount { required: true, ..secret("a") };
    let variable = SecretMount { as_env: true, as_file: false, ..expected.clone() };
    assert_eq!(both[0], Mount { target: "E".to_owned(), source: MountSource::Secret(variable) });
    assert_eq!(both[1], Mount { target: "/z".to_owned(), source: MountSource::Secret(expected) });
}

#[test]
fn agents() {
    let ssh = |id: &str, required, ownership| MountSource::Ssh(SshMount { id: id.to_owned(), required, ownership });
    assert_eq!(one("type=ssh"), ("/run/buildkit/ssh_agent.0".to_owned(), ssh("default", false, Ownership::default())));
    assert_eq!(one("type=ssh,id=k,target=/s,required=true,mode=0600"), ("/s".to_owned(), ssh("k", true, ownership("", "0600"))));
    let two = parse_all(["type=ssh,id=a", "type=ssh,id=b"].into_iter(), "/").unwrap();
    assert_eq!(two.agent.as_deref(), Some("/run/buildkit/ssh_agent.0"));
    assert_eq!(two.mounts[1].target, "/run/buildkit/ssh_agent.1");
}

#[test]
fn errors() {
    for (value, expected) in [
        ("target=/", "invalid mount target \"/\""),
        ("type=bind", "invalid mount target \"/\""),
        ("typ=tmpfs", "unexpected key 'typ' in 'typ=tmpfs' (did you mean type?)"),
        ("foobarbaz=1", "unexpected key 'foobarbaz' in 'foobarbaz=1'"),
        ("type=tmp", "unsupported mount type \"tmp\" (did you mean tmpfs?)"),
        ("target", "invalid field 'target' must be a key=value pair"),
        ("from=$v,target=/m", "'from' doesn't support variable expansion, define alias stage instead"),
        ("target=/c,sharing=locked", "invalid cache sharing set for bind mount"),
        ("target=/c,mode=0700", "mode not allowed for \"bind\" type mounts"),
        ("type=tmpfs,target=/c,uid=1", "uid not allowed for \"tmpfs\" type mounts"),
        ("type=cache,target=/c,sharing=lockd", "unsupported sharing value \"lockd\" (did you mean locked?)"),
        ("type=cache,target=/c,size=1m", "unexpected key 'size' for mount type 'cache'"),
        ("type=tmpfs,target=/c,size=big", "invalid value for size: big"),
        ("required,type=secret,id=a", "unexpected key 'required' for mount type 'bind'"),
        ("type=secret,id=a,required=maybe", "invalid value for required: maybe"),
        ("type=secret,id=a,mode=999", "invalid value 999 for mode"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=secret,id=a,src=b", "both source and id can't be set"),
        ("type=secret,id=a,from=b", "secret mount should not have a from"),
        ("type=secret,id=a,env=", "invalid environment variable for a secret: \"\""),
        ("type=ssh,env=A", "unexpected key 'env' for mount type 'ssh'"),
        ("type=ssh,src=a", "ssh does not support source"),
        ("target=\"/a\"", "failed to parse csv mounts: bare \" in non-quoted field"),
    ] {
        assert_eq!(error(value), expected, "{value}");
    }
}
