//! Time passes: everything goes when it should, and not before.

use meme_maker::app::Shared;
use meme_maker::config::Settings;
use meme_maker::index::records::Sample;
use meme_maker::keeper::{self, Task};
use meme_maker::retention::Report;
use meme_maker::serve;
use meme_maker::timestamp::Timestamp;
use meme_maker::upload::Metadata;
use meme_maker::uploads;

use crate::support::plant::{self, Plant};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Lets the keeper work as its table says until a moment.
async fn pass(app: &Shared, until: Timestamp, tasks: &[Task]) -> Vec<(Timestamp, Task, Report)> {
    let mut ran = Vec::new();
    loop {
        let settings = &app.settings;
        let now = app.now();
        let next: Vec<(Timestamp, Task)> = tasks
            .iter()
            .filter_map(|task| Some((task.next(settings, now)?, *task)))
            .collect();
        let Some(at) = next
            .iter()
            .map(|(at, _)| *at)
            .min()
            .filter(|at| *at <= until)
        else {
            app.clock.pass(until.0 - now.0);
            return ran;
        };
        app.clock.pass(at.0 - now.0);
        for (_, task) in next.into_iter().filter(|(due, _)| *due == at) {
            ran.push((at, task, keeper::run(app, task).await.unwrap()));
        }
    }
}

#[tokio::test]
async fn days_pass_and_everything_goes_when_its_time_has_come() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Settings::default();
    settings.server.data_dir = dir.path().join("data");
    settings.storage.ballast_bytes.0 = 0;
    settings.monitor.floor.0 = 1_000_000;
    settings.keeper.evict = "30 7 * * * *".to_owned();
    let app = serve::open(settings).await.unwrap();
    let data = app.settings.server.data_dir.clone();
    let start = app.now();
    let plants = [
        plant::clip(1),
        Plant {
            pinned: true,
            ..plant::clip(2)
        },
        Plant {
            expires_at: start.plus_hours(60),
            ..plant::clip(3)
        },
    ];
    plant::rows(&data, &plants);
    plant::files(&data, &plants);
    let wish = uploads::Wish {
        visitor: "v".to_owned(),
        length: 10,
        metadata: Metadata::parse("").unwrap(),
    };
    let upload = uploads::create(&app, wish).await.unwrap().id;
    let sample = Sample {
        metric: "load",
        value: 1.0,
        unit: "1",
    };
    app.index.record_samples(start, vec![sample]).await.unwrap();
    let states = || -> Vec<String> {
        let states = plant::states(&data).into_iter();
        states.map(|(_, state)| state).collect()
    };
    let aside = || std::fs::read_dir(data.join("trash")).unwrap().count();
    let count = |table: &str, condition: &str| -> i64 {
        let query = format!("SELECT count(*) FROM {table} WHERE {condition}");
        let index = plant::connect(&data);
        index.query_row(&query, [], |row| row.get(0)).unwrap()
    };
    let at = |millis: i64| start.plus_millis(millis);

    // A day, short of a minute: nothing but the keeper's own figures changes.
    let ran = pass(&app, at(DAY - MINUTE), &Task::ALL).await;
    assert!(ran.iter().any(|(_, task, _)| *task == Task::Sweep));
    assert!(ran.iter().all(|(_, _, report)| report.is_empty()));
    assert_eq!(states(), ["ready"; 3]);
    assert!(app.index.upload(upload).await.unwrap().is_some());
    // The next expiry takes the first clip into the trash, and the upload.
    pass(&app, at(DAY + 6 * MINUTE), &Task::ALL).await;
    assert_eq!(states(), ["expired", "ready", "ready"]);
    assert!(app.index.upload(upload).await.unwrap().is_none());
    assert!(!data.join("uploads").join(upload.to_string()).exists());
    assert_eq!(aside(), 1);
    assert!(!data.join("storage/clips").join(&plants[0].id).exists());
    // A day later the trash goes.
    pass(&app, at(2 * DAY - MINUTE), &Task::ALL).await;
    assert_eq!(aside(), 1);
    pass(&app, at(2 * DAY + 12 * MINUTE), &Task::ALL).await;
    assert_eq!((aside(), count("trash", "1")), (0, 0));
    // The one that was given longer.
    pass(&app, at(60 * HOUR - MINUTE), &Task::ALL).await;
    assert_eq!(states(), ["expired", "ready", "ready"]);
    pass(&app, at(60 * HOUR + 6 * MINUTE), &Task::ALL).await;
    assert_eq!(states(), ["expired", "ready", "expired"]);
    // From here on only the nightly sweeps are waited for. Readings go after a week, in the night after it.
    let nightly = [Task::Sweep];
    pass(&app, at(7 * DAY - MINUTE), &nightly).await;
    assert_eq!(count("samples", "metric = 'load'"), 1);
    pass(&app, at(8 * DAY + MINUTE), &nightly).await;
    assert_eq!(count("samples", "metric = 'load'"), 0);
    // The past goes a month after it was over, and what is pinned stays for good.
    pass(&app, at(31 * DAY - MINUTE), &nightly).await;
    assert_eq!(states(), ["expired", "ready", "expired"]);
    pass(&app, at(34 * DAY), &nightly).await;
    assert_eq!(states(), ["ready"]);
    let early = format!("at < {}", at(DAY).0);
    pass(&app, at(89 * DAY), &nightly).await;
    assert!(count("events", &early) > 0);
    pass(&app, at(93 * DAY), &nightly).await;
    assert_eq!(count("events", &early), 0);
    assert_eq!(states(), ["ready"]);
    assert!(data.join("storage/clips").join(&plants[1].id).exists());
    app.index.close();
}
