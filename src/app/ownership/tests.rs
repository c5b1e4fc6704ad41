//! One process beside another that is played by the test, on a real Redis.

use std::path::Path;

use redis::AsyncCommands as _;

use super::*;
use crate::config::LoadOptions;
use crate::queue::keys;
use crate::queue::owner::Taken;

/// Numbers 1 and 2, a lease of three seconds, a private Redis.
struct Lab {
    store: Store,
    ours: Rc<Ownership>,
    news: UnboundedReceiver<News>,
    shard: UnboundedReceiver<Event>,
    _folder: tempfile::TempDir,
}

/// What a shard was told, without tokens.
#[derive(Debug, PartialEq)]
enum Told {
    Lease,
    Drop(String),
}

async fn lab() -> Lab {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "data_dir = {:?}\n[cloud]\nurl = \"http://127.0.0.1:9\"\n[ownership]\nnode = \"a\"\nlease = \"3s\"\n\
         [[account]]\nid = \"1\"\ntoken = {{ env = \"T\" }}\n\
         [[number]]\nphone_number_id = \"1\"\naccount = \"1\"\n[[number]]\nphone_number_id = \"2\"\naccount = \"1\"\n",
        folder.path()
    );
    let options = LoadOptions {
        env: [("T".to_owned(), "t".to_owned())].into(),
        cwd: folder.path().to_owned(),
        ..LoadOptions::default()
    };
    let config = Config::load_text(Some((Path::new("c.toml"), &text)), &options).unwrap().config;
    let store = Store::open(&config).await.unwrap();
    let (ours, news) = Ownership::join(&store, &config, 1).await.unwrap();
    let (tell, shard) = mpsc::unbounded_channel();
    ours.attach(vec![tell]);
    Lab { store, ours, news, shard, _folder: folder }
}

/// Runs a test on a thread of its own, as the program does.
fn run(test: impl AsyncFnOnce(Lab)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async { test(lab().await).await });
}

impl Lab {
    async fn beat(&mut self) {
        assert_eq!(self.ours.beat().await.unwrap(), None);
    }

    fn told(&mut self) -> Vec<Told> {
        let events = std::iter::from_fn(|| self.shard.try_recv().ok());
        let word = |event| match event {
            Event::Input(Input::Lease(_)) => Some(Told::Lease),
            Event::Input(Input::DropNumber(number)) => Some(Told::Drop(number.to_string())),
            _ => None,
        };
        events.filter_map(word).collect()
    }

    fn news(&mut self) -> Vec<News> {
        std::iter::from_fn(|| self.news.try_recv().ok()).collect()
    }

    /// What control does with the news: it tells the shard, and says so.
    fn obey(&mut self, news: &[News]) {
        for number in
            news.iter().filter_map(|one| if let News::Drop(number) = one { Some(number) } else { None })
        {
            for shard in self.ours.shards.borrow().iter() {
                shard.send(Event::Input(Input::DropNumber(number.clone()))).unwrap();
            }
            self.ours.told(number);
        }
    }

    /// A heartbeat of the other process.
    async fn other(&mut self, ask: Ask, take: &[&str]) -> Vec<Taken> {
        let take: Vec<NumberId> = take.iter().map(|number| NumberId::from(*number)).collect();
        let beat = Beat {
            node: "b",
            incarnation: "b",
            ask,
            lease: Duration::from_secs(60),
            acknowledged: 0,
            capacity: 1,
            leaving: false,
            offers: Some("1 80 2 80 "),
            revision: None,
            give_back: &[],
            take: &take,
        };
        match owner::beat(&mut self.store.connection, &beat).await.unwrap() {
            Renewal::Kept(kept) => kept.taken,
            other => panic!("{other:?}"),
        }
    }

    /// What Redis knows of a number.
    async fn entry(&mut self, number: &str) -> String {
        self.store.connection.hget(keys::OWN_NUMBERS, number).await.unwrap()
    }

    /// Redis, started anew, knows this of a number, as it did before its last second.
    async fn forget(&mut self, number: &str, entry: &str) {
        let () = self.store.connection.hset(keys::OWN_NUMBERS, number, entry).await.unwrap();
        let () = self.store.connection.hset(keys::OWN, "rev", 1).await.unwrap();
        let () = self.store.connection.hset(keys::OWN, "replid", "0").await.unwrap();
    }

    /// The time after a failover in which nobody is granted anything is over.
    async fn end_grace(&mut self) {
        let () = self.store.connection.hset(keys::OWN, "grace", 0).await.unwrap();
    }

    /// Gives a number to a process that has come.
    async fn give_one(&mut self) -> NumberId {
        self.beat().await;
        self.news();
        self.other(Ask::Join, &[]).await;
        self.beat().await;
        let news = self.news();
        let [News::Drop(number)] = &news[..] else { panic!("{news:?}") };
        self.obey(&news);
        self.ours.dropped(number.clone(), clock::mono());
        number.clone()
    }

    /// Lets our lease end, as if we had been frozen.
    async fn freeze(&mut self) {
        let entry: String = self.store.connection.hget(keys::OWN_NODES, "a").await.unwrap();
        let mut words: Vec<&str> = entry.split(' ').collect();
        words[1] = "1000";
        let () = self.store.connection.hset(keys::OWN_NODES, "a", words.join(" ")).await.unwrap();
    }
}

fn gained(news: &[News]) -> Vec<(String, bool)> {
    let one = |news: &News| match news {
        News::Gained { number, next } => Some((number.to_string(), next.is_some())),
        News::Drop(_) => None,
    };
    news.iter().filter_map(one).collect()
}

#[test]
fn alone_it_takes_everything_and_gives_half_to_one_that_comes() {
    run(async |mut lab| {
        lab.beat().await;
        let news = lab.news();
        assert_eq!(gained(&news), [("1".to_owned(), false), ("2".to_owned(), false)]);
        assert!(lab.ours.leads() && lab.ours.since_ms(&NumberId::from("1")).is_some());
        lab.other(Ask::Join, &[]).await;
        lab.beat().await;
        let news = lab.news();
        let [News::Drop(number)] = &news[..] else { panic!("{news:?}") };
        lab.obey(&news);
        assert_eq!(lab.other(Ask::Keep, &[&number.0]).await, [], "not before nothing of it is under way");
        lab.ours.dropped(number.clone(), clock::mono().after(Duration::from_secs(2)));
        lab.beat().await;
        let taken = lab.other(Ask::Keep, &[&number.0]).await;
        assert!(taken[0].given_back && taken[0].wait > Duration::from_secs(1), "{taken:?}");
        lab.beat().await;
        assert_eq!(lab.news(), [], "and there it rests");
    });
}

#[test]
fn after_a_lost_lease_the_shards_go_on_only_when_they_know_what_was_lost() {
    run(async |mut lab| {
        lab.beat().await;
        lab.news();
        assert!(lab.told().contains(&Told::Lease));
        lab.freeze().await;
        lab.other(Ask::Join, &["1", "2"]).await;
        lab.beat().await;
        assert_eq!(lab.told(), [], "it is a node again, and its shards still take 1 and 2 for theirs");
        let news = lab.news();
        lab.obey(&news[..1]);
        assert_eq!(lab.told(), [Told::Drop("1".to_owned())]);
        lab.obey(&news[1..]);
        assert_eq!(lab.told(), [Told::Drop("2".to_owned()), Told::Lease]);
        // What was lost is not given back: it is the other's.
        lab.ours.dropped(NumberId::from("1"), clock::mono());
        lab.beat().await;
        let owners = owner::division(&mut lab.store.connection).await.unwrap().0.owners;
        assert!(owners.len() == 2 && owners.values().all(|owned| owned.node == "b"), "{owners:?}");
    });
}

#[test]
fn a_number_is_not_taken_again_before_the_last_stay_is_over() {
    run(async |mut lab| {
        lab.beat().await;
        lab.news();
        lab.freeze().await;
        lab.other(Ask::Join, &[]).await;
        lab.beat().await;
        let news = lab.news();
        assert_eq!(
            (gained(&news).len(), news.len()),
            (0, 2),
            "what was lost is still under way here: {news:?}"
        );
        lab.obey(&news);
        for number in ["1", "2"] {
            lab.ours.dropped(NumberId::from(number), clock::mono());
        }
        lab.beat().await;
        let news = lab.news();
        assert_eq!(gained(&news).len(), 1, "its share: {news:?}");
    });
}

#[test]
fn a_process_without_numbers_parts_with_all() {
    run(async |mut lab| {
        lab.beat().await;
        lab.news();
        lab.ours.offer(&[]);
        lab.beat().await;
        let news = lab.news();
        assert_eq!((gained(&news).len(), news.len()), (0, 2), "{news:?}");
    });
}

#[test]
fn one_that_leaves_lets_go_at_once_and_takes_nothing() {
    run(async |mut lab| {
        lab.beat().await;
        lab.news();
        assert_eq!(lab.ours.leave().len(), 2);
        lab.other(Ask::Join, &[]).await;
        lab.ours.dropped(NumberId::from("1"), clock::mono());
        lab.beat().await;
        assert!(!lab.ours.is_empty(), "2 is under way");
        assert!(lab.other(Ask::Keep, &["1"]).await[0].given_back);
        lab.ours.dropped(NumberId::from("2"), clock::mono());
        lab.beat().await;
        assert!(lab.ours.is_empty());
        assert_eq!(lab.news(), []);
        lab.ours.end(&mut lab.store).await.unwrap();
        assert_eq!(owner::live_nodes(&mut lab.store.connection).await.unwrap().len(), 1);
    });
}

#[test]
fn a_number_is_given_back_again_when_redis_forgot_that_it_was() {
    run(async |mut lab| {
        let number = lab.give_one().await;
        let ours = lab.entry(&number.0).await;
        lab.beat().await;
        lab.forget(&number.0, &ours).await;
        lab.beat().await;
        assert_eq!(lab.news(), [], "it was and stays the other's");
        lab.end_grace().await;
        let taken = lab.other(Ask::Keep, &[&number.0]).await;
        assert!(taken.len() == 1 && !taken[0].given_back, "who sent on it meanwhile is not known: {taken:?}");
    });
}

#[test]
fn a_number_that_redis_forgot_to_be_given_back_is_taken_anew_as_a_lost_one() {
    run(async |mut lab| {
        let number = lab.give_one().await;
        lab.beat().await;
        let back = lab.entry(&number.0).await;
        assert!(back.starts_with("- ") && back.ends_with(" given"), "{back}");
        lab.other(Ask::Leave, &[]).await;
        lab.beat().await;
        assert_eq!(gained(&lab.news()), [(number.to_string(), true)]);
        // Once more, with nobody else there, and Redis has it as it was granted then.
        let ours = lab.entry(&number.0).await;
        lab.ours.state.borrow_mut().part_with(&number, false);
        lab.obey(&[News::Drop(number.clone())]);
        lab.ours.dropped(number.clone(), clock::mono());
        let () = lab.store.connection.hset(keys::OWN, "grace", 8_000_000_000_000u64).await.unwrap();
        lab.beat().await;
        lab.told();
        lab.forget(&number.0, &ours).await;
        let () = lab.store.connection.hset(keys::OWN, "grace", 8_000_000_000_000u64).await.unwrap();
        lab.beat().await;
        let asked = lab.told().iter().filter(|told| **told == Told::Lease).count();
        assert_eq!(
            (lab.news(), asked),
            (Vec::new(), 1),
            "refused, it is asked for again with the next heartbeat"
        );
        lab.end_grace().await;
        lab.beat().await;
        assert_eq!(gained(&lab.news()), [(number.to_string(), false)], "another may have sent on it");
    });
}
