//! Carteiro dispatches WhatsApp campaigns for large creditors through Meta's Cloud API: as fast as the limits allow,
//! nobody twice, nothing lost.

pub mod app;
pub mod bench;
pub mod cli;
pub mod clock;
pub mod cloud;
pub mod config;
pub mod demo;
pub mod domain;
pub mod http;
pub mod intake;
pub mod limits;
pub mod metrics;
pub mod policy;
pub mod queue;
pub mod redis_server;
pub mod report;
pub mod rig;
pub mod sender;
pub mod sim;
pub mod tls;
