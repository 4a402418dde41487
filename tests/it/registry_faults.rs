//! Builds through a proxy that spoils a part of what passes: each pushes the right image, or fails clearly and in time.
//!
//! `LAYERWRIGHT_FAULT_SEEDS=N ./test --test it registry_faults::` runs another number of builds than the usual one.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::proxy::{Fault, Proxy};
use crate::support::{Registry, TestEnv, digest_of};

/// Builds without being asked for more.
const SEEDS: u64 = 200;
/// Builds at a time: they wait more than they work.
const PARALLEL: usize = 16;
/// No build takes longer, whatever happens to it.
const DEADLINE: Duration = Duration::from_secs(180);

/// SplitMix64: small, and the same everywhere.
fn random(state: &AtomicU64) -> u64 {
    let mut z = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One request in eight goes wrong; a server that is down stays so for some requests.
fn faults(seed: u64) -> impl Fn(&str, &str) -> Fault + Send + Sync + 'static {
    let state = AtomicU64::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let burst = Mutex::new(0);
    move |_, _| {
        let mut burst = burst.lock().expect("nobody panics with it");
        if *burst > 0 {
            *burst -= 1;
            return Fault::Status(503);
        }
        if !random(&state).is_multiple_of(8) {
            return Fault::None;
        }
        match random(&state) % 9 {
            0 => Fault::ResetBefore,
            1 => Fault::ResetAfter,
            2 => Fault::Stall,
            3 => {
                *burst = random(&state) % 3;
                Fault::Status([500, 502, 503, 504][(random(&state) % 4) as usize])
            }
            4 => Fault::Status(429),
            5 => Fault::Truncated,
            6 => Fault::SpoiltAnswer,
            7 => Fault::SpoiltRequest,
            _ => Fault::Dribble,
        }
    }
}

#[test]
fn builds_end_well_or_clearly_whatever_the_network_does() {
    let env = TestEnv::new();
    let content: Vec<u8> = (0..200_000_u32).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    env.file("file", &content);
    env.file("other", "small");
    let registry = Registry::open();
    let build = |proxy: &Proxy, name: &str| {
        let dockerfile = format!("FROM {}/base/busybox:latest\nCOPY file /file\nCOPY other /other\n", proxy.address);
        let destination = format!("{}/test/{name}:latest", proxy.address);
        let store = env.path(format!("store-{name}"));
        let build = env.build(&dockerfile).variable("SOURCE_DATE_EPOCH", "0").push_to(&destination).store(store.clone());
        let finished = build.args(["--registry-timeout", "2", "--push-retry", "3", "--image-download-retry", "3"]).finish();
        let _ = std::fs::remove_dir_all(store);
        finished
    };
    let name = crate::support::unique();
    let right = build(&Proxy::counting(&registry.address), &name).image().digest;

    let seeds = std::env::var("LAYERWRIGHT_FAULT_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let (next, well) = (AtomicU64::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    let proxy = Proxy::start(&registry.address, Duration::ZERO, faults(seed));
                    let name = crate::support::unique();
                    let finished = build(&proxy, &name);
                    let said = &finished.stderr;
                    assert!(finished.took < DEADLINE, "seed {seed} took {:?}\n{said}", finished.took);
                    let pushed = registry.raw_manifest(&registry.reference(&format!("test/{name}:latest")));
                    let pushed = pushed.map(|manifest| digest_of(manifest.as_bytes()));
                    match finished.code {
                        Some(0) => {
                            assert_eq!(finished.image().digest, right, "seed {seed}");
                            assert_eq!(pushed.as_deref(), Some(right.as_str()), "seed {seed}");
                            well.fetch_add(1, Ordering::Relaxed);
                        }
                        code => {
                            assert_eq!(code, Some(1), "seed {seed}\n{said}");
                            eprintln!("seed {seed} ended with\n{}", said.split_once("error: ").map_or(said.as_str(), |(_, error)| error));
                            assert!(said.contains("error: ") && said.contains(&proxy.address), "seed {seed}\n{said}");
                            assert!(!said.contains("panicked"), "seed {seed}\n{said}");
                            // What the registry took although the answer was lost is the right thing all the same.
                            assert!(pushed.is_none_or(|pushed| pushed == right), "seed {seed}");
                        }
                    }
                    // What arrived is not sent again.
                    let mut arrived: Vec<String> = proxy
                        .take()
                        .into_iter()
                        .filter(|passed| passed.method == "PUT" && passed.target.contains("/blobs/uploads/") && passed.status == 201)
                        .filter_map(|passed| passed.target.split_once("digest=").map(|(_, digest)| digest.to_owned()))
                        .collect();
                    let all = arrived.len();
                    arrived.sort();
                    arrived.dedup();
                    assert_eq!(arrived.len(), all, "seed {seed}: a blob was sent again that had arrived");
                }
            });
        }
    });
    let well = well.into_inner() as u64;
    eprintln!("{well} of {seeds} builds ended well");
    // Most faults are mended: a client that gives up at the first of them would not get here.
    assert!(well * 4 >= seeds * 3, "only {well} of {seeds} builds ended well");
}
