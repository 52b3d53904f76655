//! SIGKILL at any moment loses no acknowledged turn and leaves no half of one; a whole tree stays a prefix of its history.
//!
//! `FACETD_CRASH_ROUNDS` sets the number of kills, `FACETD_CRASH_SEED` replays the moments of an earlier run (the order of
//! the clients stays the scheduler's).

use std::env;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use crate::config;
use crate::ledger::Clerk;
use crate::support::client::Client;
use crate::support::host::Host;
use crate::trees::Gardener;
use crate::writers::Writer;

/// Twenty to thirty seconds.
const ROUNDS: u64 = 20;
/// Acknowledgements in a round before the kill, at most.
const ACKS_MAX: u64 = 150;
/// Between two acknowledgements, whoever gets them; a debug build on a loaded machine is slow, a hanging one never answers.
const ACK_LIMIT: Duration = Duration::from_secs(60);

/// Everybody who writes.
#[derive(Default)]
struct World {
    writers: Vec<Writer>,
    clerks: Vec<Clerk>,
    gardeners: Vec<Gardener>,
    /// Steps of the gardeners that were acknowledged: their models follow when they are verified.
    grown: Vec<u64>,
}

/// One of them, by place.
#[derive(Clone, Copy)]
enum Who {
    Writer(usize),
    Clerk(usize),
    Gardener(usize),
}

#[test]
fn acknowledged_turns_survive_sigkill() -> Result<()> {
    World {
        writers: Writer::all(),
        clerks: Clerk::all(),
        ..World::default()
    }
    .survives()
}

#[test]
fn trees_survive_sigkill() -> Result<()> {
    let gardeners = Gardener::all();
    World {
        grown: vec![0; gardeners.len()],
        gardeners,
        ..World::default()
    }
    .survives()
}

impl World {
    /// Writes, kills and verifies, round after round.
    fn survives(mut self) -> Result<()> {
        let rounds = parameter("FACETD_CRASH_ROUNDS")?.unwrap_or(ROUNDS);
        let seed = match parameter("FACETD_CRASH_SEED")? {
            Some(seed) => seed,
            None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as u64,
        };
        println!("replay the moments of these kills with FACETD_CRASH_SEED={seed} FACETD_CRASH_ROUNDS={rounds}");
        let mut random = Random(seed);
        let mut host = Host::new(&config())?;
        for round in 0..rounds {
            let result = self.one_round(&mut host, &mut random);
            result.map_err(|error| anyhow::anyhow!("seed {seed}, round {round}: {error:#}\n{}", host.log()))?;
        }
        self.verify(&mut host)
            .with_context(|| format!("seed {seed}, after the last round\n{}", host.log()))?;
        let written = self.acknowledged();
        println!("{written} turns and steps in {rounds} rounds");
        ensure!(written >= rounds, "hardly anything was written: {written}");
        host.stop()
    }

    fn everybody(&self) -> Vec<Who> {
        let writers = (0..self.writers.len()).map(Who::Writer);
        let clerks = (0..self.clerks.len()).map(Who::Clerk);
        let gardeners = (0..self.gardeners.len()).map(Who::Gardener);
        writers.chain(clerks).chain(gardeners).collect()
    }

    fn last(&mut self, who: Who) -> &mut u64 {
        match who {
            Who::Writer(at) => &mut self.writers[at].last,
            Who::Clerk(at) => &mut self.clerks[at].last,
            Who::Gardener(at) => &mut self.grown[at],
        }
    }

    fn acknowledged(&self) -> u64 {
        let writers: u64 = self.writers.iter().map(|writer| writer.last).sum();
        let clerks: u64 = self.clerks.iter().map(|clerk| clerk.last).sum();
        writers + clerks + self.grown.iter().sum::<u64>()
    }

    /// The outer error is a connection that broke, as kills do; the inner one is an answer, which none of these turns may get.
    fn write(&self, who: Who, client: &Client, url: &str, n: u64) -> Result<Result<(), String>> {
        match who {
            Who::Writer(at) => self.writers[at].write(client, url, n),
            Who::Clerk(at) => self.clerks[at].write(client, url, n),
            Who::Gardener(at) => self.gardeners[at].write(client, url, n),
        }
    }

    /// Verifies what the last kill left, writes on, kills.
    fn one_round(&mut self, host: &mut Host, random: &mut Random) -> Result<()> {
        if random.below(3) == 0 {
            // Recovery is killed, too; it has to be as good the next time.
            host.kill_while_starting(Duration::from_millis(random.below(60)))?;
        }
        self.verify(host)?;
        let url = host.url()?;
        let acks_wanted = 1 + random.below(ACKS_MAX);
        let pause = Duration::from_micros(random.below(3000));
        let starts: Vec<_> = self.everybody().into_iter().map(|who| (who, *self.last(who))).collect();
        let world = &*self;
        let (acks, silent) = thread::scope(|scope| -> Result<_> {
            let (acknowledge, acknowledged) = channel();
            let clients: Vec<_> = starts
                .into_iter()
                .map(|(who, n)| {
                    let (acknowledge, url) = (acknowledge.clone(), &url);
                    scope.spawn(move || world.write_until_killed(who, n, url, &acknowledge))
                })
                .collect();
            drop(acknowledge);
            let (mut acks, mut silent) = (Vec::new(), false);
            while (acks.len() as u64) < acks_wanted && !silent {
                match acknowledged.recv_timeout(ACK_LIMIT) {
                    Ok(ack) => acks.push(ack),
                    Err(_) => silent = true,
                }
            }
            // The moments between acknowledgements announce themselves by nothing, so a random pause has to find them.
            thread::sleep(pause);
            host.kill()?;
            for client in clients {
                let result = client.join().expect("clients do not panic");
                result.map_err(anyhow::Error::msg)?;
            }
            // What came in until the kill was acknowledged as well.
            acks.extend(acknowledged.try_iter());
            Ok((acks, silent))
        })?;
        for (who, n) in acks {
            *self.last(who) = n;
        }
        ensure!(!silent, "no acknowledgement for {ACK_LIMIT:?}");
        Ok(())
    }

    /// Writes turn after turn until the connection breaks, which the kill makes sure of.
    fn write_until_killed(&self, who: Who, mut n: u64, url: &str, acks: &Sender<(Who, u64)>) -> Result<(), String> {
        let client = Client::new();
        loop {
            n += 1;
            match self.write(who, &client, url, n) {
                Ok(answer) => answer?,
                Err(_) => return Ok(()),
            }
            if acks.send((who, n)).is_err() {
                return Ok(());
            }
        }
    }

    fn verify(&mut self, host: &mut Host) -> Result<()> {
        let url = host.url()?;
        let client = Client::new();
        self.writers
            .iter_mut()
            .try_for_each(|writer| writer.verify(&client, &url))?;
        for of_object in Clerk::by_object(&mut self.clerks) {
            Clerk::verify(of_object, &client, &url)?;
        }
        for (gardener, grown) in self.gardeners.iter_mut().zip(&mut self.grown) {
            gardener.verify(&client, &url, *grown)?;
            *grown = gardener.last;
        }
        Ok(())
    }
}

fn parameter(name: &str) -> Result<Option<u64>> {
    let Ok(text) = env::var(name) else { return Ok(None) };
    text.parse()
        .map(Some)
        .with_context(|| format!("{name}={text:?} is not a number"))
}

/// SplitMix64: a seed is all its state, and it needs no crate.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}
