//! What a run has made, so that it can be taken away again.

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) bucket: String,
    pub(super) key: String,
    /// The account that the bucket must be of, if one is named.
    pub(super) owner: Option<String>,
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
    /// An AMI in the run's own region. Its snapshots stay when it is removed: they are on the list
    /// themselves, or were there before it.
    Image(String),
    /// A copy of an AMI, in the region that is named or in the run's own. Its snapshots are its own,
    /// and are removed with it.
    Copy {
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
            Self::Image(id) | Self::Copy { region: None, id } => write!(f, "AMI {id}"),
            Self::Copy {
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

    /// All but the objects is to stay, or gone.
    pub(super) fn keep_images(&mut self) {
        self.all
            .retain(|made| matches!(made, Made::Object(_) | Made::Upload { .. }));
    }

    /// An object is removed.
    pub(super) fn forget_object(&mut self, gone: &Place) {
        self.all
            .retain(|made| !matches!(made, Made::Object(place) if place == gone));
    }
}
