//! Estimates: how soon they are told of a source that was looked at, and how far they are from what comes out. Contents that differ, with
//! the recipes people make of them; splices and encodes are judged apart.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::figures::{ms, quantile, sorted};
use crate::media::made;
use crate::origin::Origin;
use crate::service::Service;
use crate::table::{Bound, Must, Table};
use crate::wire::Wire;
use crate::{Ground, Outcome};

pub const MUSTS: &[Must] = &[
    Must {
        measure: "POST /api/clips:estimate of a source that was looked at: p99",
        bound: Bound::Under(50.0),
        aim: Some(10.0),
        unit: "ms",
    },
    Must {
        measure: "bytes of splices, estimated against real: worst",
        bound: Bound::Under(5.0),
        aim: None,
        unit: "%",
    },
    Must {
        measure: "bytes of encodes, estimated against real: worst",
        bound: Bound::Under(15.0),
        aim: None,
        unit: "%",
    },
];
const ASKED: usize = 300;
/// What is made of every content: the share of its length at which it begins and ends, and the wishes beside.
const RECIPES: [(f64, f64, &str); 7] = [
    (0.1, 0.5, "{}"),
    (0.33, 0.95, "{}"),
    (0.1, 0.5, r#"{"fps":120}"#),
    (0.5, 0.7, r#"{"fps":120}"#),
    (0.1, 0.6, r#"{"height":180}"#),
    (0.2, 0.8, r#"{"crop":"1:1","mute":true}"#),
    (0.1, 0.7, r#"{"speed":2}"#),
];

pub fn take(ground: &Ground, table: &mut Table) -> Outcome<()> {
    let service = Service::start(ground, &ground.dir.path().join("estimate"), &[])?;
    let (mut times, mut spliced, mut encoded) = (Vec::new(), Vec::new(), Vec::new());
    for (name, generator, arguments) in contents() {
        let mut list = vec!["-f", "lavfi", "-i", generator];
        list.extend(["-f", "lavfi", "-i", "sine=300:r=48000:d=20", "-c:a", "aac"]);
        list.extend(arguments);
        list.extend(["-pix_fmt", "yuv420p", "-movflags", "+faststart"]);
        let file = made(name, list)?;
        one(
            &service,
            &file,
            name,
            table,
            (&mut times, &mut spliced, &mut encoded),
        )?;
    }
    let late = quantile(&sorted(times), 0.99);
    table.judge(&MUSTS[0], late, format!("{late:.1} ms p99"));
    for (must, errors) in [(&MUSTS[1], spliced), (&MUSTS[2], encoded)] {
        let errors = sorted(errors);
        let (middle, worst) = (quantile(&errors, 0.5), quantile(&errors, 1.0));
        let figure = format!(
            "{worst:.1} % worst, {middle:.1} % median of {}",
            errors.len()
        );
        table.judge(must, worst, figure);
    }
    Ok(())
}

type Found<'a> = (&'a mut Vec<f64>, &'a mut Vec<f64>, &'a mut Vec<f64>);

/// Contents of 20 s: plain moving pictures, noise, and pictures that change all at once.
fn contents() -> [(&'static str, &'static str, Vec<&'static str>); 3] {
    let usual = vec!["-c:v", "libx264", "-preset", "veryfast", "-crf", "23"];
    [
        (
            "estimate-plain.mp4",
            "testsrc2=size=640x360:rate=30:duration=20",
            [usual.clone(), vec!["-g", "60"]].concat(),
        ),
        (
            "estimate-noise.mp4",
            "testsrc2=size=640x360:rate=30:duration=20,noise=alls=12:allf=t:all_seed=7",
            [usual.clone(), vec!["-g", "90"]].concat(),
        ),
        (
            "estimate-scenes.mp4",
            "mandelbrot=size=640x360:rate=30:maxiter=300,trim=duration=20,hue=h='90*floor(t/2.7)'",
            usual,
        ),
    ]
}

fn one(
    service: &Service,
    file: &Path,
    name: &str,
    table: &mut Table,
    found: Found<'_>,
) -> Outcome<()> {
    const LENGTH: f64 = 20.0;
    const PATIENCE: Duration = Duration::from_secs(60);
    let origin = Origin::start(Some(file))?;
    let link = origin.link(&format!("/{name}"));
    let (times, spliced, encoded) = found;
    let recipe = |from: f64, until: f64, more: &str| -> Outcome<Value> {
        let mut recipe: Value = serde_json::from_str(more)?;
        recipe["url"] = json!(link);
        recipe["start_time"] = json!((from * LENGTH * 10.0).round() / 10.0);
        recipe["end_time"] = json!((until * LENGTH * 10.0).round() / 10.0);
        Ok(recipe)
    };
    let began = Instant::now();
    let probe = recipe(0.1, 0.2, r#"{"fps":120}"#)?;
    while ask(service, &probe)?["warnings"]
        .to_string()
        .contains("size_guessed")
    {
        if began.elapsed() > PATIENCE {
            return Err(format!("{name} was never measured").into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    for _ in 0..ASKED {
        let asked = Instant::now();
        ask(service, &probe)?;
        times.push(ms(asked.elapsed()));
    }
    for (from, until, more) in RECIPES {
        let recipe = recipe(from, until, more)?;
        let told = ask(service, &recipe)?;
        let (clip, _) = service.make(&recipe)?;
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
        let (expected, real) = (number(&told["bytes"]), number(&clip["result"]["size"]));
        let error = 100.0 * (expected / real - 1.0);
        let method = clip["result"]["method"].as_str().unwrap_or_default();
        table.tell(
            format!(
                "{name} {}-{} {more}",
                recipe["start_time"], recipe["end_time"]
            ),
            format!("{expected:.0} against {real:.0} bytes, {error:+.1} %, {method}"),
        );
        match method {
            "splice" => spliced.push(error.abs()),
            _ => encoded.push(error.abs()),
        }
    }
    Ok(())
}

fn ask(service: &Service, recipe: &Value) -> Outcome<Value> {
    let body = recipe.to_string();
    let request = format!(
        "POST /api/clips:estimate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut wire = Wire::connect(&service.address)?;
    let answer = wire.exchange(request.as_bytes())?;
    if answer.status != 200 {
        return Err(format!("an estimate was answered {}", answer.status).into());
    }
    Ok(serde_json::from_slice(answer.body)?)
}
