//! A pipeline: streams that are merged, filtered, mapped and grouped. Each stage is a greenlet, and between two lies a queue.
//!
//!     cargo run --release --example pipeline
//!
//! What ReactiveX has operators for is here a queue that several put into, the adapters of any iterator, and a queue for each group.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use greenlet::sync::{Queue, Shutdown};
use greenlet::{scope, sleep};

mod common;

type Reading = (&'static str, f64); // where, and how many degrees Fahrenheit
/// With the milliseconds between two readings.
const THERMOMETERS: [(u64, [Reading; 5]); 2] = [
    (3, [("cellar", 50.0), ("attic", 86.0), ("cellar", 41.0), ("attic", f64::NAN), ("cellar", 59.0)]),
    (5, [("attic", 77.0), ("garden", 32.0), ("garden", 9999.0), ("garden", 41.0), ("attic", 95.0)]),
];

fn main() {
    common::no_arguments(include_str!("pipeline.rs"));
    let merged = &Queue::bounded(2); // whoever is too quick for the next stage waits
    let means = scope(|s| {
        // merge: they put into one queue. When all of them have ended, so does the scope, and the queue is shut down.
        s.spawn(move || {
            scope(|s| drop(THERMOMETERS.map(|thermometer| s.spawn(move || measure(thermometer, merged)))));
            merged.shutdown(Shutdown::Graceful);
        });
        // filter, map: an iterator like any other.
        let sane = merged.iter().filter(|(_, degrees)| (-100.0..=150.0).contains(degrees));
        let celsius = sane.map(|(place, degrees)| (place, (degrees - 32.0) / 1.8));
        // group_by: when a place comes for the first time it gets a queue of its own, and a greenlet that deals with what is in it.
        let mut groups = BTreeMap::new();
        for (place, degrees) in celsius {
            let (group, _) = groups.entry(place).or_insert_with(|| {
                let group = Rc::new(Queue::bounded(2));
                (Rc::clone(&group), s.spawn(move || mean(&group)))
            });
            group.put(degrees).expect("it is not shut down yet");
        }
        groups.values().for_each(|(group, _)| group.shutdown(Shutdown::Graceful));
        groups.into_iter().map(|(place, (_, mean))| (place, mean.join().expect("none panics"))).collect::<Vec<_>>()
    });
    means.iter().for_each(|(place, mean)| println!("in the {place}: {mean:.1} degrees Celsius"));
    common::check(means == [("attic", 30.0), ("cellar", 10.0), ("garden", 2.5)], "these are the means");
}

fn measure((pace, readings): (u64, [Reading; 5]), merged: &Queue<Reading>) {
    for (place, degrees) in readings {
        sleep(Duration::from_millis(pace));
        println!("{degrees:>6}° F in the {place}");
        merged.put((place, degrees)).expect("it is not shut down before all have ended");
    }
}

fn mean(group: &Queue<f64>) -> f64 {
    let (sum, count) = group.iter().fold((0.0, 0.0), |(sum, count), degrees| (sum + degrees, count + 1.0));
    sum / count
}
