//! What goes wrong between the nodes and the worker, drawn from the dice.

use std::time::Duration;

use super::super::ledger::NODES;
use super::World;

impl World {
    /// Something goes wrong, if it is time.
    pub(in super::super) fn strike(&mut self) {
        if self.now < self.next_fault {
            return;
        }
        self.next_fault = self.now + self.dice.milliseconds(0..1000);
        let node = self.dice.index(NODES);
        let until = self.now + self.dice.milliseconds(20..1500);
        let kind = self.dice.of(0..9);
        self.say(|| {
            format!(
                "fault {kind} of node {node} until {:.3}, master {}",
                until.as_secs_f64(),
                self.master
            )
        });
        match kind {
            0..3 => {
                if !self.nodes[node].lose_one(&mut self.dice, &mut self.ledger) {
                    return;
                }
            }
            3 => self.nodes[node].frozen_until = until,
            4 => {
                self.nodes[node].crash(&mut self.ledger);
                self.nodes[node].down_until = until;
            }
            5 | 6 => self.change_masters(node, true, until),
            7 => self.change_masters(node, false, until),
            _ => {
                let master = self.master;
                self.nodes[master].crash(&mut self.ledger);
                self.nodes[master].down_until = until;
                self.change_masters(node, false, until);
            }
        }
        self.faults.push(self.now);
        self.well[node] = None;
    }

    /// Another node is made master, with or without the knowledge of the old one, and with or without all that it had.
    fn change_masters(&mut self, node: usize, planned: bool, until: Duration) {
        let old = self.master;
        if node == old || !self.is_awake(node) || planned && !self.is_awake(old) {
            return;
        }
        let missing = self.dice.index(5);
        let [one, other] = self.nodes.get_disjoint_mut([node, old]).expect("they are two");
        one.promote(other, planned, missing);
        if planned {
            other.demote();
        } else {
            self.unaware.push((old, until));
            if self.dice.once_in(2) {
                // What it still says comes when the other one is known already.
                other.slow_until = self.now + self.dice.milliseconds(0..1500);
            }
        }
        self.ledger.reign(node, self.nodes[node].history());
        self.master = node;
        self.well[old] = None;
        self.publish_within(400);
    }

    /// Nothing is wrong any more, and the worker knows.
    pub(in super::super) fn heal(&mut self) {
        self.say(|| "all faults end".to_owned());
        for (index, node) in self.nodes.iter_mut().enumerate() {
            (node.down_until, node.frozen_until, node.slow_until) = (self.now, self.now, self.now);
            if index != self.master {
                node.demote();
            }
        }
        self.unaware.clear();
        self.publishes = Some(self.now);
    }
}
