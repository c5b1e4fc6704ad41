//! People who ask to hear no more while a campaign goes out to very many, through two processes.

use std::time::Duration;

use crate::app::board::Board;
use crate::bench::optout::{Place, optout_ms};
use crate::bench::run::Run;
use crate::clock;
use crate::domain::person::Phone;
use crate::queue::{owner, receipt};
use crate::rig::{ACCOUNT, RigError};

/// People who ask.
const PEOPLE: u32 = 100;

/// How long it may take until both processes say where they are.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Pause between two looks for that.
const POLL: Duration = Duration::from_millis(50);

/// Starts another process beside the one that sends, and measures. Milliseconds until both know of each person.
pub(super) async fn measure(run: &mut Run, tell: &mut dyn FnMut(&str)) -> Result<Vec<f64>, RigError> {
    tell(&format!("{PEOPLE} people ask to hear no more"));
    run.rig.serve_with("carteiro.toml", &[]).await?;
    let processes = processes(run).await?;
    let heard = receipt::heard(&mut run.rig.redis).await?;
    let listen = heard
        .listen
        .ok_or_else(|| RigError::Unusable("no process says where it takes webhooks".to_owned()))?;
    let webhook = format!("http://{listen}{}", crate::http::webhooks::PATH);
    let people: Vec<Phone> =
        (0..u64::from(PEOPLE)).filter_map(|at| Phone::from_digits(5_511_960_000_000 + at)).collect();
    let (snapshot, _) = owner::division(&mut run.rig.redis).await?;
    let number = snapshot.owners.keys().next().map(ToString::to_string).unwrap_or_default();
    let place = Place { processes: &processes, webhook: &webhook, account: ACCOUNT, number: &number };
    optout_ms(place, &people, &mut run.rig.redis).await
}

/// Where the metrics of both processes are.
async fn processes(run: &mut Run) -> Result<Vec<String>, RigError> {
    let began = clock::mono();
    loop {
        let redis = &mut run.rig.redis;
        let nodes = owner::live_nodes(redis).await?;
        let names: Vec<&str> = nodes.iter().map(|node| node.node.as_str()).collect();
        let said = owner::read_statuses(redis, &names).await?;
        let boards = said.iter().filter_map(|text| serde_json::from_str::<Board>(text).ok());
        let found: Vec<String> = boards.map(|board| format!("http://{}", board.http)).collect();
        if found.len() == 2 {
            return Ok(found);
        }
        run.rig.check_serve()?;
        if clock::mono().since(began) > TIMEOUT {
            return Err(RigError::Unusable("two processes do not say where their metrics are".to_owned()));
        }
        tokio::time::sleep(POLL).await;
    }
}
