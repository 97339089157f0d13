//! Whether some things can be so together: packages that are installed, streams that are active.

use std::collections::HashMap;

use batsat::{Callbacks, ClauseKind, Lit, Solver, SolverInterface, SolverOpts, Var, lbool};

/// That something is so, or that it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Literal {
    /// The number of a package or a stream; numbers behind those of all are assumptions.
    pub(crate) name: usize,
    pub(crate) is_so: bool,
}

impl Literal {
    pub(crate) const fn yes(name: usize) -> Self {
        Self { name, is_so: true }
    }

    pub(crate) const fn no(name: usize) -> Self {
        Self { name, is_so: false }
    }
}

/// How many contradictions the solver may run into before it gives up: repositories that people use
/// make it meet some hundreds.
const MOST_CONFLICTS: u64 = 200_000;

/// What ends a search that could go on for years.
#[derive(Default)]
struct Patience {
    conflicts: u64,
}

impl Callbacks for Patience {
    fn on_new_clause(&mut self, _clause: &[Lit], kind: ClauseKind) {
        self.conflicts += u64::from(kind == ClauseKind::Learnt);
    }

    fn stop(&self) -> bool {
        self.conflicts > MOST_CONFLICTS
    }
}

/// A SAT solver for clauses over these.
pub(crate) struct Oracle {
    solver: Solver<Patience>,
    variables: HashMap<usize, Var>,
    /// What holds in the last answer.
    model: Vec<bool>,
    has_model: bool,
}

impl Oracle {
    pub(crate) fn new() -> Self {
        Self {
            solver: Solver::new(SolverOpts::default(), Patience::default()),
            variables: HashMap::new(),
            model: Vec::new(),
            has_model: false,
        }
    }

    /// Makes a variable which is rather so if it does not matter.
    pub(crate) fn declare(&mut self, name: usize, rather: bool) {
        let preference = if rather { lbool::TRUE } else { lbool::FALSE };
        let variable = self.solver.new_var(preference, true);
        self.variables.insert(name, variable);
    }

    pub(crate) fn add(&mut self, clause: &[Literal]) {
        let mut clause: Vec<_> = clause.iter().map(|literal| self.lit(*literal)).collect();
        self.solver.add_clause_reuse(&mut clause);
        self.has_model = false;
    }

    /// Whether it has given up: then what it does not allow may be possible.
    pub(crate) fn has_given_up(&self) -> bool {
        self.solver.cb().stop()
    }

    /// Whether all clauses can hold with these; not, if it gave up ([`Oracle::has_given_up`]).
    pub(crate) fn allows(&mut self, assumed: &[Literal]) -> bool {
        if self.has_model && assumed.iter().all(|literal| self.holds(*literal)) {
            return true;
        }
        let assumed: Vec<_> = assumed.iter().map(|literal| self.lit(*literal)).collect();
        if self.solver.solve_limited(&assumed) != lbool::TRUE {
            return false;
        }
        let model = self.solver.get_model().iter();
        self.model = model.map(|value| *value == lbool::TRUE).collect();
        self.has_model = true;
        true
    }

    /// What of `wanted` can be so with `assumed`: of what is to blame for a contradiction, the last that
    /// may go goes, until there is none.
    ///
    /// # Errors
    /// What contradicts itself, where nothing more may go.
    pub(crate) fn give_up_last(
        &mut self,
        assumed: &[Literal],
        mut wanted: Vec<Literal>,
        may_go: impl Fn(&Literal) -> bool,
    ) -> Result<Vec<Literal>, Vec<Literal>> {
        loop {
            let all = [assumed, &wanted].concat();
            if self.allows(&all) {
                return Ok(wanted);
            }
            let blamed = self.blamed(&all);
            let goes = |one: &Literal| blamed.contains(one) && may_go(one);
            match wanted.iter().rposition(goes) {
                Some(index) => drop(wanted.remove(index)),
                None => return Err(all),
            }
        }
    }

    /// Of what was assumed when something was last not allowed, that which is to blame.
    pub(crate) fn blamed(&self, assumed: &[Literal]) -> Vec<Literal> {
        let core = self.solver.unsat_core();
        let is_blamed = |literal: &&Literal| {
            let variable = self.lit(**literal).var();
            core.iter().any(|blamed| blamed.var() == variable)
        };
        assumed.iter().filter(is_blamed).copied().collect()
    }

    fn holds(&self, literal: Literal) -> bool {
        let index = self.lit(literal).var().idx() as usize;
        self.model.get(index) == Some(&literal.is_so)
    }

    fn lit(&self, literal: Literal) -> Lit {
        // Every name is declared before it is used.
        let variable = self.variables.get(&literal.name).copied();
        Lit::new(variable.unwrap_or(Var::UNDEF), literal.is_so)
    }
}
