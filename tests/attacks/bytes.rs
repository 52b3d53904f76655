//! Bytes that nobody has thought about: good components that are cut or changed, and components at random. Each is refused,
//! or runs; nobody else notices. Seeds are fixed, so what fails fails again.

use anyhow::{Context as _, Result, ensure};
use arbitrary::Unstructured;
use serde_json::Value;
use wasm_smith::{Component, Config, Module};

use crate::arena::{Arena, config};
use crate::attack::Attack;
use crate::support::components::component;
use crate::wat::{Fate, call, run, with_core};

const CHANGED: u64 = 120;
const CUT: u64 = 60;
const RANDOM_COMPONENTS: u64 = 200;
const RANDOM_MODULES: u64 = 60;
/// Of random bytes, for one component.
const SEED_BYTES: usize = 4_096;

pub(crate) fn all() -> Vec<Attack> {
    vec![
        Attack::new("cut-components", |arena| {
            let good = component(&config(), "wasi", None)?;
            for seed in 0..CUT {
                let length = Random(seed).below(good.len() as u64) as usize;
                Fate::Refused("")
                    .check(&run(arena, "lab/cut", &good[..length])?)
                    .with_context(|| format!("cut to {length}"))?;
            }
            Ok(())
        }),
        Attack::new("changed-components", |arena| {
            let good = wat::parse_str(with_core(&call("i32.const 1024")))?;
            each(arena, CHANGED, |seed| {
                let (mut bytes, mut random) = (good.clone(), Random(seed));
                for _ in 0..=random.below(3) {
                    let at = random.below(bytes.len() as u64) as usize;
                    bytes[at] ^= 1 << random.below(8);
                }
                Ok(bytes)
            })
        }),
        Attack::new("random-components", |arena| {
            each(arena, RANDOM_COMPONENTS, |seed| {
                let random = Random(seed).bytes();
                let mut random = Unstructured::new(&random);
                Ok(Component::new(Config::default(), &mut random)?.to_bytes())
            })
        }),
        // Modules at random inside a component that is called: their start functions run.
        Attack::new("random-modules", |arena| {
            each(arena, RANDOM_MODULES, |seed| {
                let random = Random(seed).bytes();
                let limits = Config {
                    max_imports: 0,
                    allow_start_export: true,
                    memory64_enabled: false,
                    threads_enabled: false,
                    relaxed_simd_enabled: false,
                    ..Config::default()
                };
                let module = Module::new(limits, &mut Unstructured::new(&random))?.to_bytes();
                let mut facet = wat::parse_str(with_core(&call("i32.const 1024")))?;
                // A section with the module, which is the second of them, and one that instantiates it.
                facet.push(1);
                facet.extend(leb128(module.len()));
                facet.extend(module);
                facet.extend([2, 4, 1, 0, 1, 0]);
                Ok(facet)
            })
        }),
        Attack::new("random-bytes-with-the-right-beginning", |arena| {
            each(arena, CHANGED, |seed| {
                Ok([b"\0asm\x0d\0\x01\0", &Random(seed).bytes()[..]].concat())
            })
        }),
    ]
}

/// Uploads and calls what each seed makes.
fn each(arena: &Arena, seeds: u64, made: impl Fn(u64) -> Result<Vec<u8>>) -> Result<()> {
    let mut ran = 0;
    for seed in 0..seeds {
        let told: Value = run(arena, "lab/bytes", &made(seed)?).with_context(|| format!("seed {seed}"))?;
        Fate::Whatever.check(&told).with_context(|| format!("seed {seed}"))?;
        ran += u64::from(told.get("call").is_some());
    }
    eprintln!("{ran} of {seeds} became classes");
    ensure!(seeds > 0);
    Ok(())
}

fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn bytes(mut self) -> Vec<u8> {
        (0..SEED_BYTES / 8).flat_map(|_| self.next().to_le_bytes()).collect()
    }
}
