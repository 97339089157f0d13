//! What a run has made, so that it can be taken away again.

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) bucket: String,
    pub(super) key: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

/// Something at AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Made {
    Object(Place),
    Upload {
        place: Place,
        id: String,
    },
    Task(String),
    Snapshot(String),
    /// In the region that is named, or in the run's own.
    Image {
        region: Option<String>,
        id: String,
    },
}

impl std::fmt::Display for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Object(place) => write!(f, "{place}"),
            Self::Upload { place, .. } => write!(f, "the unfinished upload of {place}"),
            Self::Task(id) => write!(f, "import task {id}"),
            Self::Snapshot(id) => write!(f, "snapshot {id}"),
            Self::Image { region: None, id } => write!(f, "AMI {id}"),
            Self::Image {
                region: Some(region),
                id,
            } => write!(f, "AMI {id} in {region}"),
        }
    }
}

/// All that a run has made, in order.
#[derive(Debug, Default)]
pub(super) struct Things {
    pub(super) all: Vec<Made>,
}

impl Things {
    pub(super) fn add(&mut self, made: Made) {
        if !self.all.contains(&made) {
            self.all.push(made);
        }
    }

    /// An upload has become an object.
    pub(super) fn forget_upload(&mut self, upload: &str) {
        self.all
            .retain(|made| !matches!(made, Made::Upload { id, .. } if id == upload));
    }

    /// Objects, and uploads that are to become some, are to stay.
    pub(super) fn keep_objects(&mut self) {
        self.all
            .retain(|made| !matches!(made, Made::Object(_) | Made::Upload { .. }));
    }
}
