//! `--chmod` against the expectations in the conformance data.

use layerwright::rootfs::chmod::Chmod;
use serde_json::Value;

#[test]
fn every_row_agrees() {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance");
    let data = std::env::var("LAYERWRIGHT_CONFORMANCE").unwrap_or_else(|_| default.to_owned());
    let Ok(rows) = std::fs::read_to_string(format!("{data}/vectors/oracle/chmod.jsonl")) else { return };
    let mut wrong = Vec::new();
    for row in rows.lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        let text = row["in"]["mode"].as_str().unwrap();
        let parsed = text.parse::<Chmod>();
        let Some(out) = row["out"].as_object().filter(|out| !out.contains_key("error")) else {
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
