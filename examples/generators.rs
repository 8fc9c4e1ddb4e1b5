//! Generators: code that puts one value after another, behind an ordinary iterator.
//!
//!     cargo run --release --example generators
//!
//! The body is a greenlet with a stack of its own. So it may put from within recursive functions, and wait for whatever it likes
//! between two values, while the other greenlets run.

use std::time::Duration;

use greenlet::{generator, sleep, spawn, sync::Yielder};

mod common;

fn main() {
    common::no_arguments(include_str!("generators.rs"));
    let fibonacci = generator(|y| {
        let (mut a, mut b) = (0_u64, 1);
        loop {
            y.put(a);
            (a, b) = (b, a + b);
        }
    });
    let even: Vec<u64> = fibonacci.filter(|n| n % 2 == 0).take(8).collect();
    println!("an endless one, of which eight are taken: {even:?}");
    common::check(even == [0, 2, 8, 34, 144, 610, 2584, 10946], "these are even Fibonacci numbers");

    let sorted: String = generator(|y| permute("abc", String::new(), y)).collect::<Vec<_>>().join(" ");
    println!("a recursive function puts: {sorted}");
    common::check(sorted == "abc acb bac bca cab cba", "these are all permutations");

    // What is passed to `send` is what `put` returns.
    let mut averages = generator(|y| {
        let mut sum = y.put(0.0);
        for count in 1.. {
            sum += y.put(sum / f64::from(count));
        }
    });
    averages.start();
    let seen = [10.0, 20.0, 60.0].map(|number| averages.send(number));
    println!("averages of what is sent to it: {seen:?}");
    common::check(seen == [Some(10.0), Some(15.0), Some(30.0)], "these are the averages");

    let clock = spawn(|| sleep(Duration::from_millis(1)));
    let sum: u32 = generator(|y| {
        for n in 1..=3 {
            sleep(Duration::from_millis(20));
            y.put(n);
        }
    })
    .sum();
    println!("one that waits: the sum is {sum}, and a clock has ticked meanwhile: {}", clock.is_finished());
    common::check(sum == 6 && clock.is_finished(), "others run while a generator waits");
}

fn permute(letters: &str, begun: String, y: &Yielder<String>) {
    if letters.is_empty() {
        return y.put(begun);
    }
    letters.chars().for_each(|letter| permute(&letters.replace(letter, ""), format!("{begun}{letter}"), y));
}
