//! The configuration and the history that whole Dockerfiles give, against what BuildKit gives for them with the same stub base images.

use layerwright::oci::ImageConfig;
use serde_json::{Value, json};

use crate::support::conformance::{self, Differences};
use crate::support::plan::Case;

/// Inputs that differ on purpose, by how their names end, and the reason.
const EXCEPTIONS: &[(&str, &str)] =
    &[("run-empty-json", "BuildKit takes RUN [] and fails when it runs; it is refused here before anything runs")];

/// What is compared: everything but times and layers. A list that is there and empty stands for one that is not there.
fn shown(mut image: Value) -> Value {
    if let Some(image) = image.as_object_mut() {
        image.remove("rootfs");
        image.remove("created");
        image.remove("created_present");
    }
    for entry in image["history"].as_array_mut().into_iter().flatten() {
        if let Some(entry) = entry.as_object_mut() {
            entry.remove("created");
        }
    }
    if image["history"].is_null() {
        image["history"] = json!([]);
    }
    // For Windows alone it means something.
    if let Some(config) = image["config"].as_object_mut() {
        config.remove("ArgsEscaped");
    }
    image
}

fn compare(differences: &mut Differences, name: &str, case: &Case, output: &Value) {
    if output["image"].is_null() {
        return;
    }
    if let Some((_, reason)) = EXCEPTIONS.iter().find(|(end, _)| name.ends_with(end)) {
        return differences.excuse(name.to_owned(), reason);
    }
    let (report, image) = case.plan();
    let got = match image {
        Some(image) => shown(serde_json::to_value::<ImageConfig>(image).expect("a configuration is JSON")),
        None => json!(report.errors.iter().map(ToString::to_string).collect::<Vec<_>>()),
    };
    let wanted = shown(output["image"].clone());
    differences.check(|| format!("{name}\n  got      {got}\n  expected {wanted}"), got == wanted);
}

// scenarios 18, 19, 20, 25, 26, 27, 28, 31, 32, 33
#[test]
fn edge_cases() {
    conformance::edge_cases(|differences, name, source, input, output| compare(differences, name, &Case::new(source).asked(input), output));
}

#[test]
fn dockerfiles_of_other_tools() {
    conformance::dockerfiles_of_other_tools(|differences, name, source, output| compare(differences, name, &Case::new(source), output));
}
