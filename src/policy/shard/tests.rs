//! The machine in virtual time, driven by a small world that plays Redis, the line and Meta.

mod bounds;
mod budget;
mod caps;
mod flow;
mod hours;
mod random;
mod stop_list;
mod stops;
mod tenure;
mod trouble;
mod world;
