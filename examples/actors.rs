//! Actors: greenlets that own their state and are sent messages. Nothing has to be locked.
//!
//!     cargo run --release --example actors
//!
//! Two accounts are actors: they are told something, or asked and answer. So is their bank, which asks them.

use std::time::Duration;

use greenlet::sync::{Actor, AskError, Reply};
use greenlet::{actor, joinall, sleep, spawn};

mod common;

enum Account {
    Deposit(u32),
    /// The answer is whether there was enough.
    Withdraw(u32, Reply<bool>),
    Balance(Reply<u32>),
}

fn account(mut balance: u32) -> Actor<Account> {
    actor(move |message| match message {
        Account::Deposit(amount) => balance += amount,
        Account::Withdraw(amount, reply) if amount > balance => reply.send(false),
        Account::Withdraw(amount, reply) => {
            sleep(Duration::from_millis(1)); // for the receipt; whatever is sent to it meanwhile waits
            balance -= amount;
            reply.send(true);
        }
        Account::Balance(reply) => reply.send(balance),
    })
}

fn main() {
    common::no_arguments(include_str!("actors.rs"));
    let [ann, ben] = [100, 0].map(account);
    let bank = actor({
        let (ann, ben) = (ann.clone(), ben.clone());
        move |(amount, reply): (u32, Reply<bool>)| {
            let withdrawn = ann.ask(|reply| Account::Withdraw(amount, reply)).expect("it lives as long as its handles");
            if withdrawn {
                ben.tell(Account::Deposit(amount)).expect("as above");
            }
            reply.send(withdrawn);
        }
    });
    let answers = joinall([10, 20, 30, 40, 50, 5].map(|amount| {
        let bank = bank.clone();
        spawn(move || (amount, bank.ask(|reply| (amount, reply)).expect("the bank lives")))
    }));
    answers.iter().flatten().for_each(|(amount, answer)| println!("{amount:>3} from Ann to Ben: {answer:?}"));
    let balances = [&ann, &ben].map(|account| account.ask(Account::Balance));
    println!("Ann has {:?}, and Ben {:?}", balances[0], balances[1]);
    common::check(balances == [Ok(0), Ok(100)], "nothing is lost, and nobody has overdrawn");
    bank.greenlet().kill().expect("it is no main greenlet");
    let answer = bank.ask_timeout(|reply| (1, reply), Duration::from_secs(60));
    println!("When the bank is closed: {answer:?}");
    common::check(answer == Err(AskError::Ended), "who asks an actor that has ended is told so");
}
