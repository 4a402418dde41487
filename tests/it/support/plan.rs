//! A Dockerfile read, planned and checked as a build would do it, with the standard plugin and with base images that exist nowhere.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use layerwright::build::error::{BuildError, Failure};
use layerwright::build::images::Images;
use layerwright::build::settings::BuildSettings;
use layerwright::build::{Handlers, Inputs, PlannedBase, Planner, Report, check, plan};
use layerwright::context::BuildContext;
use layerwright::dockerfile::Source;
use layerwright::image::{Image, Layer, LayerContent};
use layerwright::oci::{Descriptor, DiffId, Digest, ImageConfig, LayerCompression, MediaType, Platform, Reference};
use layerwright::plugin::{PluginSet, PluginSettings};
use layerwright::progress::Silent;
use serde_json::{Value, json};

/// The standard instructions, through the component that the program carries.
static HANDLERS: LazyLock<Arc<Handlers>> = LazyLock::new(|| {
    let plugins = PluginSet::load(&PluginSettings::standard(), Arc::new(Silent)).expect("the standard plugins load");
    Arc::new(Handlers::new(plugins.handlers()).expect("the standard keywords are claimed once"))
});

/// An empty build context without an ignore file.
static CONTEXT: LazyLock<(tempfile::TempDir, Arc<BuildContext>)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let context = BuildContext::open(folder.path(), None).expect("the folder is there");
    (folder, Arc::new(context))
});

/// Base images of one layer, by name.
struct Stubs;

#[async_trait]
impl Images for Stubs {
    async fn image(&self, reference: &Reference, platform: &Platform) -> Result<Image, Failure> {
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let config = match reference.repository() {
            "oracle/nopath" => json!({}),
            "oracle/rich" => json!({
                "Cmd": ["basecmd"], "Entrypoint": ["/base-entry"], "Env": [path, "BASEVAR=base", "EMPTY="],
                "ExposedPorts": {"8080/tcp": {}}, "Healthcheck": {"Interval": 5_000_000_000_u64, "Test": ["CMD", "true"]},
                "Labels": {"base.label": "1", "over": "base"}, "Shell": ["/bin/bash", "-c"], "StopSignal": "SIGINT",
                "User": "baseuser", "Volumes": {"/basevol": {}}, "WorkingDir": "/basewd",
            }),
            "oracle/onbuild" => json!({ "Env": [path], "OnBuild": ["ENV ONB=1", "RUN echo onbuild", "COPY . /onb"] }),
            _ => json!({ "Env": [path], "Cmd": ["/bin/sh"] }),
        };
        let layer = Digest::of(b"layer");
        let document = json!({
            "architecture": platform.architecture, "os": platform.os, "config": config,
            "rootfs": { "type": "layers", "diff_ids": [layer.to_string()] },
            "history": [{ "created_by": "base layer" }],
        });
        let config: ImageConfig = serde_json::from_value(document).expect("it is a configuration");
        let descriptor = Descriptor::new(MediaType::OciLayer(LayerCompression::Gzip), layer, 5);
        let layer = Layer { descriptor, diff_id: DiffId(layer), content: LayerContent::File("/nowhere".into()) };
        Ok(Image { config, layers: vec![layer], ..Image::default() })
    }
}

/// What is asked of a Dockerfile.
pub struct Case {
    source: Source,
    settings: BuildSettings,
}

impl Case {
    /// A build for linux/amd64 without arguments.
    pub fn new(source: Source) -> Self {
        Self { source, settings: BuildSettings::new(Platform::new("linux", "amd64")) }
    }

    /// The platform, the target and the build arguments of a row of the conformance data.
    pub fn asked(mut self, row: &Value) -> Self {
        if let Some(platform) = row["platform"].as_str() {
            self.settings.platform = platform.parse().expect("a platform");
        }
        self.settings.target = row["target"].as_str().map(str::to_owned);
        let arguments = row["build_args"].as_object().into_iter().flatten();
        let given = arguments.map(|(name, value)| (name.clone(), value.as_str().expect("a value").to_owned()));
        self.settings.build_args = given.collect();
        self
    }

    /// What `layerwright check` finds.
    pub fn check(&self) -> Report {
        let (settings, inputs) = self.parts();
        block_on(check(settings, inputs))
    }

    /// What a build finds before it carries anything out, and the image that it would make where nothing is wrong.
    pub fn plan(&self) -> (Report, Option<ImageConfig>) {
        let (settings, inputs) = self.parts();
        let (report, planner) = block_on(plan(settings, inputs));
        (report, planner.map(|planner| config_of(&planner, planner.graph.target)))
    }

    fn parts(&self) -> (Arc<BuildSettings>, Inputs) {
        let inputs = Inputs {
            handlers: Arc::clone(&HANDLERS),
            images: Arc::new(Stubs),
            fetcher: None,
            reporter: Arc::new(Silent),
            context: Arc::clone(&CONTEXT.1),
            dockerfile: Arc::new(self.source.clone()),
        };
        (Arc::new(self.settings.clone()), inputs)
    }
}

/// A stage's configuration and history, with those of the stages that it is based on.
fn config_of(planner: &Planner, index: usize) -> ImageConfig {
    let plan = block_on(planner.plan(index)).expect("it is planned");
    let mut history = match &plan.base {
        PlannedBase::Image(image) => image.config.history.clone(),
        PlannedBase::Stage(parent) => config_of(planner, *parent).history,
    };
    history.extend(plan.steps.iter().filter_map(|step| step.history.clone()));
    let state = plan.state.as_ref().expect("nothing looks at files of the build");
    ImageConfig { history, ..state.config.clone() }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

/// What an error says, with its causes.
pub fn words(error: &BuildError) -> String {
    let first: &dyn std::error::Error = match error {
        BuildError::Step(step) => step.as_ref(),
        other => other,
    };
    std::iter::successors(Some(first), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
