//! Whether some packages can be installed together.

use std::collections::HashMap;

use batsat::{BasicSolver, Lit, SolverInterface, Var, lbool};

use super::formula::Literal;

/// A SAT solver for clauses over packages and over what is assumed.
pub(crate) struct Oracle {
    solver: BasicSolver,
    variables: HashMap<usize, Var>,
    /// What holds in the last answer.
    model: Vec<bool>,
    has_model: bool,
}

impl Oracle {
    pub(crate) fn new() -> Self {
        Self {
            solver: BasicSolver::default(),
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

    /// Whether all clauses can hold with these.
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
