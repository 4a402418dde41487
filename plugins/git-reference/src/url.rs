/// How a repository is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// Smart HTTP without TLS.
    Http,
    /// Smart HTTP over TLS.
    Https,
    /// The `ssh` program.
    Ssh,
    /// A daemon's own protocol, in the clear.
    Git,
}

impl Scheme {
    /// As in a URL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Ssh => "ssh",
            Self::Git => "git",
        }
    }
}

/// Where a repository is, without query and fragment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GitUrl {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// The name, and after a colon the password.
    pub user: Option<String>,
    /// With the port, where one is given.
    pub host: String,
    /// With its slash; of `user@host:path` what follows the colon.
    pub path: String,
    /// Whether it was written as `user@host:path`.
    pub short: bool,
}

impl GitUrl {
    /// Reads the URL of a repository; none where it is something else. Schemes that are not listed at [`Scheme`] are something else.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((scheme, rest)) = text.split_once("://") {
            let scheme = match scheme.to_ascii_lowercase().as_str() {
                "http" => Scheme::Http,
                "https" => Scheme::Https,
                "ssh" => Scheme::Ssh,
                "git" => Scheme::Git,
                _ => return None,
            };
            let (authority, path) = rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, format!("/{path}")));
            let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user.to_owned()), host));
            return (!host.is_empty()).then(|| Self { scheme, user, host: host.to_owned(), path, short: false });
        }
        let (user, rest) = text.split_once('@')?;
        let (host, path) = rest.split_once(':')?;
        let all = |text: &str, more: &[char]| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(&c));
        let read = Self { scheme: Scheme::Ssh, user: Some(user.to_owned()), host: host.to_owned(), path: path.to_owned(), short: true };
        (all(user, &['-', '_']) && all(host, &['-', '.'])).then_some(read)
    }

    /// Whether it can only be a repository: a web address may be anything, so its name has to say what it is.
    pub fn names_a_repository(&self) -> bool {
        match self.scheme {
            Scheme::Http | Scheme::Https => self.path.ends_with(".git"),
            Scheme::Ssh | Scheme::Git => true,
        }
    }

    /// The part that a program would take for an option, if there is one.
    pub fn looks_like_an_option(&self) -> Option<&'static str> {
        match () {
            () if self.user.as_deref().is_some_and(|user| user.starts_with('-')) => Some("user"),
            () if self.host.starts_with('-') => Some("host"),
            () if self.path.starts_with('-') || self.path.starts_with("/-") => Some("path"),
            () => None,
        }
    }

    /// As it is written, the scheme in lower case.
    pub fn remote(&self) -> String {
        let Self { scheme, host, path, .. } = self;
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        if self.short { format!("{user}{host}:{path}") } else { format!("{}://{user}{host}{path}", scheme.name()) }
    }

    /// As [`GitUrl::remote`], without what may be a password.
    pub fn shown(&self) -> String {
        match (self.scheme, self.user.as_deref()) {
            (Scheme::Ssh, Some(user)) => Self { user: user.split(':').next().map(str::to_owned), ..self.clone() }.remote(),
            _ => Self { user: None, ..self.clone() }.remote(),
        }
    }
}
