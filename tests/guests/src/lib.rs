//! What the plugins that misbehave have in common.

use layerwright_plugin::Description;
use layerwright_plugin::instruction::{ArgumentForm, Capabilities, Keyword};

/// Describes a handler of one keyword that wants nothing.
pub fn handler(name: &str, keyword: &str) -> Capabilities {
    Capabilities::new(Description::new(format!("test/{name}"), "0.1.0", "misbehaves"), [Keyword::new(keyword, ArgumentForm::Text)])
}
