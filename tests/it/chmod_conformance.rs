//! `--chmod` against the expectations in the conformance data.

use layerwright::rootfs::chmod::Chmod;

use crate::support::conformance::rows;

#[test]
fn every_row_agrees() {
    let mut wrong = Vec::new();
    for (input, output) in rows("vectors/oracle/chmod.jsonl") {
        let text = input["mode"].as_str().unwrap();
        let parsed = text.parse::<Chmod>();
        let Some(out) = output.as_object().filter(|out| !out.contains_key("error")) else {
            if let Ok(chmod) = parsed {
                wrong.push(format!("{text:?}: {chmod:?}, want an error"));
            }
            continue;
        };
        for (before, after) in out {
            let mode = u32::from_str_radix(before.trim_start_matches('d'), 8).unwrap();
            let got = parsed.as_ref().map(|chmod| format!("{:04o}", chmod.apply(mode, before.starts_with('d'))));
            if got.as_deref().ok() != after.as_str() {
                wrong.push(format!("{text:?} on {before}: {got:?}, want {after}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
