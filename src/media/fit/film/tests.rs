//! The choice by table and by its properties, and the search against encoders that take what they like.

use super::*;

const FULL: Film = Film {
    target: Bytes(8 << 20),
    seconds: 10.0,
    width: 1920,
    height: 1080,
    fps: 30.0,
    voices: Voices::Two,
    packing: Packing::MP4,
};

#[track_caller]
fn check(film: Film, (height, fps, audio): (u32, Option<u32>, u64)) {
    let choice = film.choose().unwrap();
    assert_eq!(
        (choice.step.height, choice.step.fps, choice.audio_bits),
        (height, fps, audio),
        "{film:?}"
    );
}

#[test]
fn pictures_shrink_with_the_target() {
    let of = |bytes| Film {
        target: Bytes(bytes),
        ..FULL
    };
    check(of(8 << 20), (1080, None, 160_000));
    check(of(800_000), (1080, None, 96_000));
    check(of(500_000), (720, None, 64_000));
    check(of(250_000), (480, None, 32_000));
    check(of(160_000), (360, Some(24), 32_000));
    check(of(100_000), (240, Some(15), 32_000));
    check(of(70_000), (144, Some(15), 32_000));
}

#[test]
fn pictures_that_are_many_become_fewer_first() {
    let of = |bytes| Film {
        target: Bytes(bytes),
        fps: 60.0,
        voices: Voices::None,
        ..FULL
    };
    check(of(2_000_000), (1080, None, 0));
    check(of(800_000), (1080, Some(30), 0));
    check(of(300_000), (540, Some(30), 0));
}

#[test]
fn what_stands_upright_shrinks_by_its_pixels() {
    let of = |bytes| Film {
        target: Bytes(bytes),
        width: 608,
        height: 1080,
        ..FULL
    };
    check(of(500_000), (1080, None, 64_000));
    check(of(200_000), (720, None, 32_000));
    assert_eq!(of(1).steps().last().map(|step| step.height), Some(240));
}

/// Films of many kinds.
fn films() -> Vec<Film> {
    let mut films = Vec::new();
    for (width, height) in [(1920, 1080), (854, 480), (608, 1080), (320, 240), (64, 64)] {
        for fps in [6.0, 23.976, 30.0, 59.94] {
            for seconds in [0.5, 7.3, 60.0, 600.0] {
                for voices in [Voices::None, Voices::One, Voices::Two] {
                    for packing in [Packing::MP4, Packing::WEBM] {
                        films.push(Film {
                            target: Bytes(0),
                            seconds,
                            width,
                            height,
                            fps,
                            voices,
                            packing,
                        });
                    }
                }
            }
        }
    }
    films
}

#[test]
fn a_larger_target_is_never_answered_with_less() {
    for film in films() {
        let mut before: Option<Choice> = None;
        let mut target = 10_000.0;
        while target < 2e9 {
            let film = Film {
                target: Bytes(target as u64),
                ..film
            };
            target *= 1.07;
            let Ok(choice) = film.choose() else {
                assert!(before.is_none(), "{film:?}");
                continue;
            };
            let bits = (choice.video_bits + choice.audio_bits) as f64;
            let bytes = bits * film.seconds / 8.0 + film.tables(&choice.step);
            assert!(bytes <= film.target.0 as f64, "{film:?}: {choice:?}");
            if let Some(before) = before {
                assert!(choice.step.height >= before.step.height, "{film:?}");
                assert!(choice.step.rate >= before.step.rate, "{film:?}");
                assert!(choice.audio_bits >= before.audio_bits, "{film:?}");
            }
            before = Some(choice);
        }
    }
}

#[test]
fn what_is_refused_names_a_target_that_does() {
    for film in films() {
        let Err(least) = film.choose() else { continue };
        let film = Film {
            target: least,
            ..film
        };
        assert!(film.choose().is_ok(), "{film:?}");
        let less = Film {
            target: Bytes(least.0 * 85 / 100),
            ..film
        };
        let lowest = least == rounded_up(0.0);
        assert!(lowest || less.choose().is_err(), "{film:?}");
    }
}

/// How a search ends, and what was asked on the way, when the pictures take `off` of their rate and have this quantizer.
fn searched(film: Film, quantizer: Option<f64>, off: f64) -> (Result<bool, Bytes>, Vec<Ask>) {
    let mut search = Search::begin(film).unwrap();
    let mut asked = Vec::new();
    loop {
        let ask = search.ask();
        asked.push(ask);
        match ask {
            Ask::Survey(_) => search.surveyed(quantizer),
            Ask::Make(choice, _) => {
                let pictures = choice.video_bits as f64 * off;
                let bits = pictures + choice.audio_bits as f64;
                let size = bits * film.seconds / 8.0 + film.tables(&choice.step);
                match search.made(size as u64) {
                    Ok(false) => {}
                    ended => return (ended, asked),
                }
            }
        }
    }
}

fn heights(asked: &[Ask]) -> Vec<(char, u32)> {
    let told = asked.iter().map(|ask| match ask {
        Ask::Survey(choice) => ('s', choice.step.height),
        Ask::Make(choice, Rate::Again { .. }) => ('a', choice.step.height),
        Ask::Make(choice, _) => ('f', choice.step.height),
    });
    told.collect()
}

#[test]
fn a_search_ends_with_what_fits() {
    let film = Film {
        target: Bytes(2_000_000),
        ..FULL
    };
    for (quantizer, off, expected) in [
        (Some(30.0), 1.0, &[('s', 1080), ('a', 1080)][..]),
        (Some(40.0), 1.0, &[('s', 1080), ('s', 720), ('a', 720)]),
        (Some(30.0), 1.1, &[('s', 1080), ('a', 1080), ('a', 1080)]),
        (None, 1.1, &[('s', 1080), ('f', 1080), ('f', 1080)]),
    ] {
        let (ended, asked) = searched(film, quantizer, off);
        assert_eq!(ended, Ok(true));
        assert_eq!(heights(&asked), expected);
    }
}

#[test]
fn a_search_that_nothing_fits_ends_as_well() {
    let (ended, asked) = searched(FULL, Some(60.0), 1e6);
    let least = ended.unwrap_err();
    assert!(least > FULL.target);
    let tries = asked.iter().filter(|ask| matches!(ask, Ask::Make(..)));
    assert_eq!(tries.count(), TRIES);
}
