//! Sorting packages by what they need, as RPM does it (`rpmtsOrder`): the order is RPM's own even where
//! nothing forces it, and in circles.

use std::collections::VecDeque;

/// Something that is to come before something else.
#[derive(Debug, Clone, Copy)]
struct Relation {
    other: usize,
    /// Whether a script needs it.
    is_strong: bool,
}

/// A package.
#[derive(Debug, Default)]
struct Node {
    /// Which of 32 and 64 bit its programs are for, as bits; 0 if it has none.
    color: u64,
    /// How many relations say that others come before it.
    waits: usize,
    /// How many say that others come behind it.
    weight: usize,
    /// What comes behind it, and before it. The later ones count first.
    behind: Vec<Relation>,
    before: Vec<Relation>,
    /// The circle that it is in, and how far it is from what a script needs.
    circle: Option<usize>,
    distance: usize,
    is_done: bool,
}

/// Packages that need each other.
#[derive(Debug)]
struct Circle {
    /// In the order in which they were found.
    members: Vec<usize>,
    /// How many relations say that others come before them.
    waits: usize,
}

/// Packages of which some come before others.
#[derive(Debug)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    circles: Vec<Circle>,
    /// Whether they are being removed.
    is_removal: bool,
    /// The preferred colour.
    preferred: u64,
}

impl Graph {
    /// Packages of these colours, in the order in which they were asked for.
    pub(super) fn new(colors: impl Iterator<Item = u64>, is_removal: bool, preferred: u64) -> Self {
        let nodes = colors.map(|color| Node {
            color,
            ..Node::default()
        });
        Self {
            nodes: nodes.collect(),
            circles: Vec::new(),
            is_removal,
            preferred,
        }
    }

    /// Says that one package comes before another. Those of one package that `needs` something are
    /// told one after the other.
    pub(super) fn add(&mut self, first: usize, second: usize, is_strong: bool, needs: bool) {
        if first == second {
            return;
        }
        // What is told twice counts once; the other way round RPM looks for it at the wrong place.
        let last = if needs {
            self.nodes[first].behind.last()
        } else {
            self.nodes[first].before.last()
        };
        if last.is_some_and(|last| last.other == second) {
            let [one, other] = if needs {
                [(first, second, true), (second, first, false)]
            } else {
                [(first, second, false), (second, first, true)]
            };
            for (node, of, is_behind) in [one, other] {
                let node = &mut self.nodes[node];
                let list = if is_behind {
                    &mut node.behind
                } else {
                    &mut node.before
                };
                let known = list.iter_mut().rev().find(|known| known.other == of);
                if let Some(known) = known {
                    known.is_strong |= is_strong;
                }
            }
            return;
        }
        let relation = |other| Relation { other, is_strong };
        self.nodes[second].waits += 1;
        self.nodes[first].behind.push(relation(second));
        self.nodes[first].weight += 1;
        self.nodes[second].before.push(relation(first));
    }

    /// The order.
    pub(super) fn sorted(mut self) -> Vec<usize> {
        self.find_circles();
        let mut queue = VecDeque::new();
        for node in 0..self.nodes.len() {
            if self.nodes[node].waits == 0 {
                self.enqueue(node, &mut queue);
            }
        }
        for circle in 0..self.circles.len() {
            if self.circles[circle].waits == 0 {
                self.enqueue(self.circles[circle].members[0], &mut queue);
            }
        }
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(next) = queue.pop_front() {
            match self.nodes[next].circle {
                Some(circle) => self.collect_circle(circle, &mut queue, &mut order),
                None => self.collect(next, None, &mut queue, &mut order),
            }
        }
        order
    }

    /// Puts a package into a queue: before those of which no more wait, those of the preferred colour
    /// together.
    fn enqueue(&self, new: usize, queue: &mut VecDeque<usize>) {
        let node = &self.nodes[new];
        let is_late = node.color != 0 && (node.color == self.preferred) == self.is_removal;
        let place = queue.iter().position(|&other| {
            let other = &self.nodes[other];
            (!is_late || other.color == node.color) && other.weight <= node.weight
        });
        queue.insert(place.unwrap_or(queue.len()), new);
    }

    /// Takes a package. What waited for nothing else comes into the queue, or, if it is not of the same
    /// circle, into the one outside.
    fn collect(
        &mut self,
        taken: usize,
        mut inner: Option<&mut VecDeque<usize>>,
        outer: &mut VecDeque<usize>,
        order: &mut Vec<usize>,
    ) {
        order.push(taken);
        let own = self.nodes[taken].circle;
        for index in (0..self.nodes[taken].behind.len()).rev() {
            let next = self.nodes[taken].behind[index].other;
            if self.nodes[next].is_done || next == taken {
                continue;
            }
            let circle = self.nodes[next].circle;
            let waits = &mut self.nodes[next].waits;
            *waits = waits.saturating_sub(1);
            if *waits == 0 {
                match &mut inner {
                    Some(inner) if own == circle => self.enqueue(next, inner),
                    _ => self.enqueue(next, outer),
                }
            }
            if let Some(number) = circle.filter(|_| circle != own) {
                let waits = &mut self.circles[number].waits;
                *waits = waits.saturating_sub(1);
                if *waits == 0 {
                    self.enqueue(next, outer);
                }
            }
        }
        self.nodes[taken].is_done = true;
    }

    /// Takes the packages of a circle: first what is farthest from what a script needs.
    fn collect_circle(
        &mut self,
        circle: usize,
        outer: &mut VecDeque<usize>,
        order: &mut Vec<usize>,
    ) {
        self.measure(circle);
        loop {
            let members = self.circles[circle].members.iter().copied();
            let left = members.filter(|member| !self.nodes[*member].is_done);
            let Some(best) = left.max_by_key(|member| self.nodes[*member].distance) else {
                return;
            };
            let mut inner = VecDeque::from([best]);
            while let Some(next) = inner.pop_front() {
                self.collect(next, Some(&mut inner), outer, order);
            }
        }
    }

    /// Finds out how far the members of a circle are from one whose scripts need another of it.
    fn measure(&mut self, circle: usize) {
        let members = self.circles[circle].members.clone();
        let mut queue = VecDeque::new();
        for &member in &members {
            let mut before = self.nodes[member].before.iter();
            let is_source = before.any(|relation| {
                relation.is_strong && self.nodes[relation.other].circle == Some(circle)
            });
            self.nodes[member].distance = if is_source { 0 } else { usize::MAX };
            queue.extend(is_source.then_some(member));
        }
        while let Some(member) = queue.pop_front() {
            let distance = self.nodes[member].distance + 1;
            for index in (0..self.nodes[member].before.len()).rev() {
                let other = self.nodes[member].before[index].other;
                let node = &mut self.nodes[other];
                if node.circle == Some(circle) && node.distance > distance {
                    node.distance = distance;
                    queue.push_back(other);
                }
            }
        }
    }

    /// Finds the circles (Tarjan's algorithm, without recursion).
    fn find_circles(&mut self) {
        let count = self.nodes.len();
        // When each was reached, and the earliest that can be reached from it and is not settled.
        let (mut reached, mut lowest) = (vec![usize::MAX; count], vec![usize::MAX; count]);
        let mut is_settled = vec![false; count];
        let (mut stack, mut clock) = (Vec::new(), 0);
        for start in 0..count {
            if reached[start] != usize::MAX {
                continue;
            }
            // Each with how many of its relations are left.
            let mut way = vec![(start, self.nodes[start].behind.len())];
            (reached[start], lowest[start]) = (clock, clock);
            clock += 1;
            stack.push(start);
            while let Some((node, left)) = way.last_mut() {
                let node = *node;
                if let Some(index) = left.checked_sub(1) {
                    *left = index;
                    let next = self.nodes[node].behind[index].other;
                    if is_settled[next] {
                        continue;
                    }
                    if reached[next] == usize::MAX {
                        (reached[next], lowest[next]) = (clock, clock);
                        clock += 1;
                        stack.push(next);
                        way.push((next, self.nodes[next].behind.len()));
                    } else {
                        lowest[node] = lowest[node].min(reached[next]);
                    }
                    continue;
                }
                way.pop();
                if let Some((above, _)) = way.last() {
                    lowest[*above] = lowest[*above].min(lowest[node]);
                }
                if lowest[node] == reached[node] {
                    let first = stack.iter().rposition(|one| *one == node);
                    let members = stack.split_off(first.unwrap_or_default());
                    for member in &members {
                        is_settled[*member] = true;
                    }
                    if members.len() > 1 {
                        self.add_circle(members);
                    }
                }
            }
        }
    }

    fn add_circle(&mut self, members: Vec<usize>) {
        let number = self.circles.len();
        for member in &members {
            self.nodes[*member].circle = Some(number);
        }
        let mut waits = 0;
        for member in &members {
            let before = self.nodes[*member].before.iter();
            waits += before
                .filter(|relation| self.nodes[relation.other].circle != Some(number))
                .count();
        }
        self.circles.push(Circle { members, waits });
    }
}
