//! The plugins that come with the program, compiled ahead of time, and what each is allowed unless the operator says otherwise.

use super::grant::Grant;
use super::shape::{Import, World};

/// One embedded plugin.
pub(super) struct Embedded {
    /// Its package's name without the prefix.
    pub(super) name: &'static str,
    /// SHA-256 of the component, hexadecimal.
    pub(super) digest: &'static str,
    pub(super) world: World,
    pub(super) imports: &'static [Import],
    /// Compiled for this architecture by the build script.
    pub(super) compiled: &'static [u8],
}

/// Written by the build script.
static EMBEDDED: &[Embedded] = include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// What plugins get that the operator did not configure: the variables, files and hosts that the tools whose place they take use as well.
/// Of credential helpers these are the published ones that pipelines name in config.json. Hosts are the clouds' own, those that the operator's
/// environment names, and for each cloud its metadata service.
const USUAL: &[(&str, &[&str])] = &[
    (
        "auth-azure",
        &[
            "env=AZURE_CLIENT_ID",
            "env=AZURE_TENANT_ID",
            "env=AZURE_CLIENT_SECRET",
            "env=AZURE_FEDERATED_TOKEN",
            "env=AZURE_FEDERATED_TOKEN_FILE",
            "env=AZURE_AUTHORITY_HOST",
            "env=IDENTITY_ENDPOINT",
            "env=IDENTITY_HEADER",
            "file=$AZURE_FEDERATED_TOKEN_FILE",
            "file=/var/run/secrets/azure/tokens/azure-identity-token",
            "host=https://login.microsoftonline.com",
            "host=https://login.partner.microsoftonline.cn",
            "host=https://login.microsoftonline.us",
            "host=http://169.254.169.254",
            "host=$AZURE_AUTHORITY_HOST",
            "host=$IDENTITY_ENDPOINT",
            "host=https://*.azurecr.io",
            "host=https://*.azurecr.cn",
            "host=https://*.azurecr.us",
        ],
    ),
    (
        "auth-docker-config",
        &[
            "env=DOCKER_CONFIG",
            "env=DOCKER_AUTH_CONFIG",
            "env=REGISTRY_AUTH_FILE",
            "env=XDG_RUNTIME_DIR",
            "env=XDG_CONFIG_HOME",
            "env=UID",
            "file=$DOCKER_CONFIG/config.json",
            "file=$DOCKER_CONFIG/.dockerconfigjson",
            "file=$DOCKER_CONFIG/.dockercfg",
            "file=~/.docker/.dockerconfigjson",
            "file=/kaniko/.docker/.dockerconfigjson",
            "file=/run/containers",
            "file=$REGISTRY_AUTH_FILE",
            "file=$XDG_RUNTIME_DIR/containers/auth.json",
            "file=$XDG_CONFIG_HOME/containers/auth.json",
            "file=~/.docker/config.json",
            "file=~/.dockercfg",
            "file=~/.config/containers/auth.json",
            "file=/kaniko/.docker/config.json",
            "credential-helper=acr-env",
            "credential-helper=ecr-login",
            "credential-helper=gcloud",
            "credential-helper=gcr",
            "credential-helper=pass",
            "credential-helper=secretservice",
        ],
    ),
    (
        "auth-ecr",
        &[
            "env=AWS_ACCESS_KEY_ID",
            "env=AWS_SECRET_ACCESS_KEY",
            "env=AWS_SESSION_TOKEN",
            "env=AWS_REGION",
            "env=AWS_DEFAULT_REGION",
            "env=AWS_ROLE_ARN",
            "env=AWS_ROLE_SESSION_NAME",
            "env=AWS_WEB_IDENTITY_TOKEN_FILE",
            "env=AWS_PROFILE",
            "env=AWS_DEFAULT_PROFILE",
            "env=AWS_CONFIG_FILE",
            "env=AWS_SHARED_CREDENTIALS_FILE",
            "env=AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "env=AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "env=AWS_CONTAINER_AUTHORIZATION_TOKEN",
            "env=AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            "env=AWS_EC2_METADATA_DISABLED",
            "env=AWS_EC2_METADATA_SERVICE_ENDPOINT",
            "env=AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
            "env=AWS_ENDPOINT_URL",
            "env=AWS_ENDPOINT_URL_ECR",
            "env=AWS_ENDPOINT_URL_ECR_PUBLIC",
            "env=AWS_ENDPOINT_URL_STS",
            "env=AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
            "file=$AWS_WEB_IDENTITY_TOKEN_FILE",
            "file=$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            "file=$AWS_CONFIG_FILE",
            "file=$AWS_SHARED_CREDENTIALS_FILE",
            "file=~/.aws/config",
            "file=~/.aws/credentials",
            "file=/var/run/secrets/eks.amazonaws.com/serviceaccount/token",
            "file=/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token",
            "host=https://api.ecr.*.amazonaws.com",
            "host=https://ecr-fips.*.amazonaws.com",
            "host=https://api.ecr.*.amazonaws.com.cn",
            "host=https://ecr-fips.*.amazonaws.com.cn",
            "host=https://api.ecr.*.amazonaws.eu",
            "host=https://ecr-fips.*.amazonaws.eu",
            "host=https://ecr.*.api.aws",
            "host=https://ecr-fips.*.api.aws",
            "host=https://ecr.*.api.amazonwebservices.com.cn",
            "host=https://ecr-fips.*.api.amazonwebservices.com.cn",
            "host=https://api.ecr.*.sc2s.sgov.gov",
            "host=https://ecr-fips.*.sc2s.sgov.gov",
            "host=https://api.ecr.*.c2s.ic.gov",
            "host=https://ecr-fips.*.c2s.ic.gov",
            "host=https://api.ecr.*.cloud.adc-e.uk",
            "host=https://ecr-fips.*.cloud.adc-e.uk",
            "host=https://api.ecr.*.csp.hci.ic.gov",
            "host=https://ecr-fips.*.csp.hci.ic.gov",
            "host=https://sts.*.amazonaws.com",
            "host=https://sts.*.amazonaws.com.cn",
            "host=https://sts.*.amazonaws.eu",
            "host=https://sts.*.c2s.ic.gov",
            "host=https://sts.*.cloud.adc-e.uk",
            "host=https://sts.*.csp.hci.ic.gov",
            "host=https://sts.*.sc2s.sgov.gov",
            "host=https://api.ecr-public.us-east-1.amazonaws.com",
            "host=http://169.254.169.254",
            "host=http://[fd00:ec2::254]",
            "host=http://169.254.170.2",
            "host=http://169.254.170.23",
            "host=http://[fd00:ec2::23]",
            "host=$AWS_ENDPOINT_URL",
            "host=$AWS_ENDPOINT_URL_ECR",
            "host=$AWS_ENDPOINT_URL_ECR_PUBLIC",
            "host=$AWS_ENDPOINT_URL_STS",
            "host=$AWS_EC2_METADATA_SERVICE_ENDPOINT",
            "host=$AWS_CONTAINER_CREDENTIALS_FULL_URI",
        ],
    ),
    ("auth-github", &["env=GITHUB_ACTIONS", "env=GITHUB_TOKEN", "env=GITHUB_ACTOR", "env=GITHUB_SERVER_URL"]),
    (
        "auth-gitlab",
        &[
            "env=CI_REGISTRY",
            "env=CI_REGISTRY_USER",
            "env=CI_REGISTRY_PASSWORD",
            "env=CI_DEPENDENCY_PROXY_SERVER",
            "env=CI_DEPENDENCY_PROXY_USER",
            "env=CI_DEPENDENCY_PROXY_PASSWORD",
            "env=CI_DEPLOY_USER",
            "env=CI_DEPLOY_PASSWORD",
            "env=CI_JOB_TOKEN",
        ],
    ),
    (
        "auth-google",
        &[
            "env=GOOGLE_APPLICATION_CREDENTIALS",
            "env=CLOUDSDK_CONFIG",
            "env=GCE_METADATA_HOST",
            "env=NO_GCE_CHECK",
            "env=ACTIONS_ID_TOKEN_REQUEST_URL",
            "file=$GOOGLE_APPLICATION_CREDENTIALS",
            "file=$CLOUDSDK_CONFIG/application_default_credentials.json",
            "file=~/.config/gcloud/application_default_credentials.json",
            "file=/var/run/secrets/tokens/gcp-ksa",
            "host=https://oauth2.googleapis.com",
            "host=https://sts.googleapis.com",
            "host=https://iamcredentials.googleapis.com",
            "host=http://metadata.google.internal",
            "host=http://$GCE_METADATA_HOST",
            "host=$ACTIONS_ID_TOKEN_REQUEST_URL",
        ],
    ),
    // The operator names these files, and the plugin is asked for nothing before that.
    ("mirror-containerd", &["env=LAYERWRIGHT_REGISTRY_HOSTS_DIR", "file=$LAYERWRIGHT_REGISTRY_HOSTS_DIR"]),
    ("mirror-docker-daemon", &["env=LAYERWRIGHT_DOCKER_DAEMON_CONFIG", "file=$LAYERWRIGHT_DOCKER_DAEMON_CONFIG"]),
    (
        "mirror-registries-conf",
        &[
            "env=LAYERWRIGHT_REGISTRIES_CONF",
            "env=LAYERWRIGHT_REGISTRIES_CONF_DIR",
            "file=$LAYERWRIGHT_REGISTRIES_CONF",
            "file=$LAYERWRIGHT_REGISTRIES_CONF_DIR",
        ],
    ),
    ("mirror-kaniko", &["env=KANIKO_REGISTRY_MIRROR", "env=KANIKO_REGISTRY_MAP", "env=KANIKO_SKIP_DEFAULT_REGISTRY_FALLBACK"]),
];

/// The providers of credentials in the order in which they are asked: docker's configuration, then kaniko's order, then what kaniko lacks.
const PROVIDERS: [&str; 7] = ["auth-docker-config", "auth-env", "auth-google", "auth-ecr", "auth-azure", "auth-gitlab", "auth-github"];

/// The names of the plugins that come with the program, in the order in which they are asked.
pub fn names() -> impl Iterator<Item = &'static str> {
    let others = EMBEDDED.iter().map(|embedded| embedded.name).filter(|name| !PROVIDERS.contains(name));
    PROVIDERS.into_iter().chain(others)
}

/// Whether a plugin that comes with the program provides credentials.
pub(super) fn is_provider(name: &str) -> bool {
    find(name).is_some_and(|embedded| embedded.world == World::AuthProvider)
}

/// What a standard plugin is allowed unless the operator says otherwise.
pub fn usual_grants(name: &str) -> Vec<Grant> {
    let texts = USUAL.iter().find(|(plugin, _)| *plugin == name).map_or(&[][..], |(_, grants)| grants);
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// The grants of `auth-env`: each variable of an environment by its name that can hold a registry's user or password. Which they are depends
/// on the registry, so no list could have them.
pub fn registry_variables<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<Grant> {
    let fits = |name: &&String| name.starts_with("KANIKO_") && (name.ends_with("_USER") || name.ends_with("_PASSWORD"));
    names.into_iter().filter(fits).filter_map(|name| format!("env={name}").parse().ok()).collect()
}

pub(super) fn find(name: &str) -> Option<&'static Embedded> {
    EMBEDDED.iter().find(|embedded| embedded.name == name)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::plugin::{PluginSet, PluginSettings};
    use crate::progress::Silent;

    #[test]
    fn usual_grants_are_what_the_plugins_want() {
        let set = PluginSet::load(&PluginSettings::standard(), Arc::new(Silent)).unwrap();
        let names: Vec<&str> = set.infos().iter().map(|info| info.origin.as_str()).collect();
        assert_eq!(names, super::names().collect::<Vec<_>>());
        for info in set.infos() {
            // Which helpers it will want only the configuration files tell.
            let helpers = |grant: &String| !grant.starts_with("credential-helper=");
            let mut granted: Vec<String> = info.grants.iter().map(Grant::to_string).filter(helpers).collect();
            let mut wanted = info.wants.clone();
            granted.sort();
            wanted.sort();
            assert_eq!(granted, wanted, "{}", info.name);
        }
        assert_eq!(set.auth_providers().len(), PROVIDERS.len());
        // What waits to be asked is known by the name that it will have.
        let called: Vec<String> = set.infos().iter().map(|info| info.name.clone()).collect();
        assert_eq!(called, super::names().map(|name| format!("layerwright/{name}")).collect::<Vec<_>>());
        for (name, grants) in USUAL {
            assert_eq!(usual_grants(name).len(), grants.len(), "{name}");
            assert!(find(name).is_some(), "{name}");
        }
    }
}
