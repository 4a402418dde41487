//! What the name of a registry says: whether it is one of ECR's, and where its API is.

/// Which of ECR's registries it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Registry {
    /// An account's registry in a region.
    Private {
        region: String,
        /// Where the API takes calls: a host.
        api: String,
        partition: &'static Partition,
    },
    /// The gallery that anyone can read.
    Public,
}

/// A family of names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// What a registry's name ends in.
    registry: &'static str,
    /// What the API's name begins with.
    api: &'static str,
    /// What the API's name ends in.
    suffix: &'static str,
    /// What the names of other services, the token service among them, end in.
    pub(crate) services: &'static str,
}

/// The names of the public gallery.
const PUBLIC: [&str; 2] = ["public.ecr.aws", "ecr-public.aws.com"];
/// Where the public gallery's API is, whatever the region.
pub(crate) const PUBLIC_API: &str = "api.ecr-public.us-east-1.amazonaws.com";
pub(crate) const PUBLIC_REGION: &str = "us-east-1";

const fn plain(suffix: &'static str) -> Partition {
    Partition { registry: suffix, api: "api.ecr", suffix, services: suffix }
}

static PARTITIONS: [Partition; 9] = [
    plain("amazonaws.com"),
    plain("amazonaws.com.cn"),
    plain("amazonaws.eu"),
    Partition { registry: "on.aws", api: "ecr", suffix: "api.aws", services: "amazonaws.com" },
    Partition { registry: "on.amazonwebservices.com.cn", api: "ecr", suffix: "api.amazonwebservices.com.cn", services: "amazonaws.com.cn" },
    plain("sc2s.sgov.gov"),
    plain("c2s.ic.gov"),
    plain("cloud.adc-e.uk"),
    plain("csp.hci.ic.gov"),
];

impl Registry {
    /// Reads `ACCOUNT.dkr.ecr[-fips].REGION.SUFFIX`, from the first to the last character.
    pub(crate) fn parse(host: &str) -> Option<Self> {
        let host = host.to_ascii_lowercase();
        if PUBLIC.contains(&host.as_str()) {
            return Some(Self::Public);
        }
        let (account, rest) = host.split_once('.')?;
        if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let rest = rest.strip_prefix("dkr.ecr").or_else(|| rest.strip_prefix("dkr-ecr"))?;
        let (fips, rest) = rest.strip_prefix("-fips").map_or((false, rest), |rest| (true, rest));
        let (region, suffix) = rest.strip_prefix('.')?.split_once('.')?;
        if !is_region(region) {
            return None;
        }
        let partition = PARTITIONS.iter().find(|partition| partition.registry == suffix)?;
        let api = if fips { "ecr-fips" } else { partition.api };
        Some(Self::Private { region: region.to_owned(), api: format!("{api}.{region}.{}", partition.suffix), partition })
    }

    /// What the names of AWS's other services end in.
    pub(crate) fn services(&self) -> &'static str {
        match self {
            Self::Private { partition, .. } => partition.services,
            Self::Public => "amazonaws.com",
        }
    }

    pub(crate) fn region(&self) -> &str {
        match self {
            Self::Private { region, .. } => region,
            Self::Public => PUBLIC_REGION,
        }
    }
}

/// Whether a text can be a label of a host name, as regions are.
pub(crate) fn is_region(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Every host that a request may go to, but for those of metadata services.
pub(crate) fn hosts() -> impl Iterator<Item = String> {
    let apis = PARTITIONS.iter().flat_map(|partition| {
        let (api, suffix) = (partition.api, partition.suffix);
        [format!("https://{api}.*.{suffix}"), format!("https://ecr-fips.*.{suffix}")]
    });
    let mut services: Vec<&str> = PARTITIONS.iter().map(|partition| partition.services).collect();
    services.sort_unstable();
    services.dedup();
    let tokens = services.into_iter().map(|services| format!("https://sts.*.{services}"));
    apis.chain(tokens).chain([format!("https://{PUBLIC_API}")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_registries() {
        for (host, region, api) in [
            ("123456789012.dkr.ecr.us-east-1.amazonaws.com", "us-east-1", "api.ecr.us-east-1.amazonaws.com"),
            ("123456789012.DKR.ecr.US-east-1.amazonaws.com", "us-east-1", "api.ecr.us-east-1.amazonaws.com"),
            ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1", "ecr-fips.us-gov-west-1.amazonaws.com"),
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1", "api.ecr.cn-north-1.amazonaws.com.cn"),
            ("123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1", "api.ecr.eusc-de-east-1.amazonaws.eu"),
            ("123456789012.dkr-ecr.eu-west-1.on.aws", "eu-west-1", "ecr.eu-west-1.api.aws"),
            ("123456789012.dkr-ecr-fips.us-east-2.on.aws", "us-east-2", "ecr-fips.us-east-2.api.aws"),
            ("123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov", "us-iso-east-1", "api.ecr.us-iso-east-1.c2s.ic.gov"),
        ] {
            let Some(Registry::Private { region: found, api: at, .. }) = Registry::parse(host) else { panic!("{host}") };
            assert_eq!((found.as_str(), at.as_str()), (region, api), "{host}");
        }
        assert_eq!(Registry::parse("public.ecr.aws"), Some(Registry::Public));
        assert_eq!(Registry::parse("ecr-public.aws.com"), Some(Registry::Public));
    }

    #[test]
    fn names_that_only_look_like_it() {
        for host in [
            "123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.test",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com.",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com:443",
            "123456789012.dkr.ecr.us-east-1.amazonaws.comx",
            "x123456789012.dkr.ecr.us-east-1.amazonaws.com",
            "evil.123456789012.dkr.ecr.us-east-1.amazonaws.com",
            "12345678901.dkr.ecr.us-east-1.amazonaws.com",
            "123456789012.dkr.ecr.evil.test.us-east-1.amazonaws.com",
            "123456789012.dkr.ecr..amazonaws.com",
            "123456789012.dkr.ecr.us/east.amazonaws.com",
            "123456789012.dkr.ecr.-.amazonaws.com",
            "123456789012.dkr.ecr.us-east-1.evil.on.aws",
            "123456789012.dkrxecr.us-east-1.amazonaws.com",
            "public.ecr.aws.evil.test",
            "evil-public.ecr.aws",
            "ecr.aws",
            "",
        ] {
            assert_eq!(Registry::parse(host), None, "{host}");
        }
    }
}
