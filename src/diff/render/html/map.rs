//! The disk from its first byte to its last: which parts of it differ, and which partitions lie there.
//!
//! The partitions are named in a legend, and only wide ones also where they lie, by their numbers, so
//! that no two names can collide.

use std::ops::Range;

use serde::Serialize;

use crate::diff::Report;
use crate::diff::raw::{Ranges, intersection, total};

/// Cells in the map of the disk: as many as can be distinguished in a row on a screen.
const MAP_CELLS: u64 = 256;
/// A band has its label if it is at least this part of the disk: a number is narrower than that even
/// on a telephone.
const LABELLED_PARTS: u128 = 10;
/// Colours of bands in the style sheet.
const COLOURS: usize = 6;

/// A row of cells, each as dark as the share of its bytes that differ, and the partitions below.
#[derive(Serialize)]
pub(super) struct Map<'a> {
    cells: u64,
    changed_cells: Vec<Cell>,
    bands: Vec<Band<'a>>,
    disk_len: u64,
}

#[derive(Serialize)]
struct Cell {
    x: u64,
    opacity: String,
    bytes: u64,
    start: u64,
    end: u64,
}

#[derive(Serialize)]
struct Band<'a> {
    name: &'a str,
    /// Its number, if the band is wide enough for it.
    label: Option<&'a str>,
    /// The number of a colour.
    colour: usize,
    start: String,
    width: String,
    bytes: u64,
    /// How many of them lie in sectors that differ.
    differs: u64,
}

impl<'a> Map<'a> {
    pub(super) fn of(report: &'a Report) -> Self {
        let len = report.disk_len.max(1);
        let bands = report
            .layout
            .iter()
            .enumerate()
            .map(|(index, (name, range))| {
                let bytes = range.end.saturating_sub(range.start);
                let is_wide = u128::from(bytes) * LABELLED_PARTS >= u128::from(len);
                Band {
                    name,
                    label: name.rsplit(' ').next().filter(|_| is_wide),
                    colour: index % COLOURS,
                    start: share(range.start, len),
                    width: share(bytes, len),
                    bytes,
                    differs: total(&intersection(&report.changed, std::slice::from_ref(range))),
                }
            });
        Self {
            cells: MAP_CELLS,
            changed_cells: (0..MAP_CELLS)
                .filter_map(|x| cell(report, len, x))
                .collect(),
            bands: bands.collect(),
            disk_len: report.disk_len,
        }
    }
}

/// One cell of the map, if anything differs in it.
fn cell(report: &Report, len: u64, x: u64) -> Option<Cell> {
    let bound = |x: u64| u64::try_from(u128::from(len) * u128::from(x) / u128::from(MAP_CELLS));
    let within: Range<u64> = bound(x).unwrap_or(len)..bound(x + 1).unwrap_or(len);
    let inside: Ranges = intersection(&report.changed, std::slice::from_ref(&within));
    let bytes = total(&inside);
    if bytes == 0 {
        return None;
    }
    // A single block must be seen, so the scale begins well above nothing.
    let percent = 30 + bytes.saturating_mul(70) / (within.end - within.start).max(1);
    Some(Cell {
        x,
        opacity: format!("{}.{:02}", percent / 100, percent % 100),
        bytes,
        start: within.start,
        end: within.end,
    })
}

/// A part of the disk in percent, to three decimal places.
fn share(bytes: u64, len: u64) -> String {
    let share = u128::from(bytes.min(len)) * 100_000 / u128::from(len);
    format!("{}.{:03}%", share / 1000, share % 1000)
}
