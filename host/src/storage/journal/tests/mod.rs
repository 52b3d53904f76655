//! The journal's tests: what it says of itself (`basic`), what is left of it and its databases by a power failure or a kill
//! at any moment (`failures`), each of its rules taken away (`without`), the histories of objects (`histories`), a full disk (`full`), and every call that can fail (`faults`).

mod basic;
mod failures;
mod full;
mod golden;
mod histories;
mod liveness;
mod model;
mod moved;
mod power;
mod random;
mod salvage;
mod shadow;
mod speed;
mod without;
mod world;
