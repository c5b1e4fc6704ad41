//! Pure decisions: what a reply means, when to try again, how fast, through which number, and what a shard
//! does next. Nothing here names tokio, redis or hyper, reads a clock, or draws randomness by itself.

pub mod adapt;
pub mod assign;
pub mod brake;
pub mod breaker;
pub mod classify;
pub mod contacts;
pub mod doubt;
pub mod facts;
pub mod first;
pub mod mark;
pub mod pace;
pub mod retry;
pub mod route;
pub mod shard;
pub mod stop_words;
pub mod stops;
