use std::path::PathBuf;

use taper_augment::Policy;
use taper_core::{DeviceChoice, Fit, OutOfRange, Precision, Preprocessing};
use taper_data::ValChoice;
use taper_grad::{Boundary, Unfreeze};
use taper_graph::{Graph, Node, Op};
use taper_optim::{Span, Warmup};
use taper_zoo::{ModelSpec, WeightsChoice};

use crate::{
    BatchNormChoice, FineTune, FitChoice, HeadChoice, LearningRate, MapPrecision, MixChoice,
    PrecisionChoice, PromptChoice, Recipe, Result, UnfreezeChoice,
};

/// A recipe whose fields are in range, with the model that it names.
#[derive(Debug, Clone)]
pub struct CheckedRecipe {
    recipe: Recipe,
    model: &'static ModelSpec,
    backbone: Graph,
    weights: WeightsChoice,
    preprocessing: Preprocessing,
    boundary: Option<Boundary>,
}

impl CheckedRecipe {
    /// The recipe as it was given.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The model that the recipe names.
    pub fn model(&self) -> &'static ModelSpec {
        self.model
    }

    /// The network up to the features that the head starts from.
    pub fn backbone(&self) -> &Graph {
        &self.backbone
    }

    /// Where its weights come from.
    pub fn weights(&self) -> &WeightsChoice {
        &self.weights
    }

    /// The same with a precision that was measured, so that the recipe repeats the run.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.recipe.precision = PrecisionChoice::Fixed(precision);
        self
    }

    /// The same for one fold of a cross-validation.
    #[must_use]
    pub fn with_fold(mut self, fold: usize) -> Self {
        self.recipe.fold = Some(fold);
        self
    }

    /// The same for one of its seeds, counted from 0.
    #[must_use]
    pub fn with_seed(mut self, number: usize) -> Self {
        self.recipe.seed = self.recipe.seed.wrapping_add(number as u64);
        self.recipe.seeds = None;
        self
    }

    /// Where the trained part of the network begins, if any of it is trained.
    pub fn boundary(&self) -> Option<Boundary> {
        self.boundary
    }

    /// How pictures will be prepared.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }
}

fn fail<T>(
    field: &'static str,
    value: impl ToString,
    remedy: impl Into<std::borrow::Cow<'static, str>>,
) -> Result<T> {
    Err(OutOfRange::new(field, value, remedy).into())
}

/// Where training begins; what is wrong with that is a wrong setting.
fn boundary(recipe: &Recipe, whole: &Graph, backbone: &Graph, from: &Unfreeze) -> Result<Boundary> {
    let refuse = |remedy: String| {
        let value = UnfreezeChoice::Layers(from.clone());
        OutOfRange::new("fine_tune.from", value, remedy).into()
    };
    Boundary::find(backbone, from).map_err(|error| match (error, &recipe.cut, from) {
        (taper_grad::Error::Graph(_), Some(cut), Unfreeze::From(layer))
            if whole.cut(layer).is_ok() =>
        {
            refuse(format!(
                "the network ends before it, since it is cut at '{cut}': unfreeze that or an earlier layer, or `cut` later"
            ))
        }
        (taper_grad::Error::Graph(error), ..) => error.into(),
        (taper_grad::Error::Layer { problem, .. }, ..) => refuse(problem),
        (other, ..) => refuse(other.to_string()),
    })
}

impl Recipe {
    /// Checks every field, before anything is read or computed.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) names the first field that is out of range,
    /// [`Error::Zoo`](crate::Error::Zoo) an unknown model with the nearest names,
    /// [`Error::Graph`](crate::Error::Graph) a size that is too small for the model.
    pub fn check(self) -> Result<CheckedRecipe> {
        let model = taper_zoo::find(&self.model)?;
        let weights = match self.weights_place() {
            "pretrained" => WeightsChoice::Pretrained,
            "random" => WeightsChoice::Random,
            file => WeightsChoice::File(PathBuf::from(file)),
        };
        self.check_head()?;
        self.check_zero_shot(model)?;
        self.check_solved()?;
        self.check_views()?;
        self.check_folds()?;
        self.check_steering()?;
        self.check_fine_tuning()?;
        let backbone = match &self.cut {
            Some(layer) => model.graph().cut(layer)?,
            None => model.backbone(),
        };
        let mut preprocessing = model.preprocessing;
        if self.fit == FitChoice::Squash {
            preprocessing.fit = Fit::Squash;
        }
        if let Some(size) = self.size {
            preprocessing.size = size;
            if size > 4096 {
                return fail("size", size, "use at most 4096 pixels");
            }
            // Names the smallest size that the network accepts.
            backbone.shapes(size as usize, size as usize)?;
        }
        preprocessing.check()?;
        let trained = self.fine_tune.as_ref().and_then(FineTune::unfreeze);
        let boundary = trained.map(|from| boundary(&self, &model.graph(), &backbone, from));
        let boundary = boundary.transpose()?;
        if let (Some(own), Some(boundary)) = (&self.fine_tune, boundary)
            && own.batch_norm == BatchNormChoice::Frozen
        {
            let first = &backbone.nodes()[boundary.first];
            if let (Op::BatchNorm(_), Some(before)) = (&first.op, first.inputs.first()) {
                let remedy = format!(
                    "it is the BatchNorm of '{}', and its frozen statistics are part of that layer's weights: begin there, or use `fine_tune.batch_norm` train",
                    backbone.nodes()[*before].name
                );
                return fail("fine_tune.from", format!("'{}'", own.from), remedy);
            }
        }
        if let (Some(own), Some(boundary)) = (&self.fine_tune, boundary)
            && own.batch_norm == BatchNormChoice::Train
        {
            let norm = |node: &Node| matches!(node.op, Op::BatchNorm(_));
            let head = self.head_graph(backbone.feature_width(), 2);
            let trained = backbone.nodes()[boundary.first..].iter().chain(head.nodes());
            if !trained.into_iter().any(norm) {
                let remedy = "nothing that is trained has BatchNorm: use frozen, or unfreeze more";
                return fail("fine_tune.batch_norm", "train", remedy);
            }
        }
        let kept = self.fine_tune.as_ref().map(|own| own.cache_precision);
        if boundary.is_some_and(|boundary| boundary.cut == 0) && kept == Some(MapPrecision::F16) {
            let remedy = "all layers are trained, so there are no maps below them to keep: leave it out, or `unfreeze` less";
            return fail("cache_precision", "f16", remedy);
        }
        Ok(CheckedRecipe { recipe: self, model, backbone, weights, preprocessing, boundary })
    }

    fn check_head(&self) -> Result<()> {
        self.training().check()?;
        if self.batch_size == 1 && self.head == HeadChoice::Tutorial {
            let remedy = "the tutorial's head has BatchNorm, which cannot be trained on one picture at a time: use 2 or more";
            return fail("batch_size", 1, remedy);
        }
        if let Some(p) = self.dropout.filter(|p| !(0.0..1.0).contains(p)) {
            return fail("dropout", p, "use 0 or more and less than 1");
        }
        Ok(())
    }

    /// Whether a head can start from the names of the classes.
    fn check_zero_shot(&self, model: &'static ModelSpec) -> Result<()> {
        if self.head != HeadChoice::ZeroShot {
            let given = self.prompts != PromptChoice::Default;
            let remedy = "only the head 'zero-shot' asks about names: leave it out";
            return if given { fail("prompts", "set", remedy) } else { Ok(()) };
        }
        model.text()?;
        if self.weights == "random" {
            let remedy = "random weights know no names: use pretrained ones";
            return fail("weights", "random", remedy);
        }
        if self.cut.is_some() {
            let remedy = "names are compared with the network's own features: leave it out, or use another `head`";
            return fail("cut", "set", remedy);
        }
        self.prompts.check()?;
        if self.epochs > 0 || self.trains_network() {
            return Ok(());
        }
        // Nothing is learned from pictures.
        let default = Self::default();
        let unused = [
            ("views", self.views != default.views),
            ("fresh_views", self.fresh_views),
            ("mix", self.mix != default.mix),
            ("dropout", self.dropout.is_some()),
            ("sampling", self.sampling != default.sampling),
            ("class_weights", self.loss.class_weights != default.loss.class_weights),
            ("label_smoothing", self.loss.label_smoothing != default.loss.label_smoothing),
            ("focal_gamma", self.loss.focal_gamma != default.loss.focal_gamma),
            ("tensorboard", self.tensorboard),
        ];
        let unused = unused.into_iter().find(|(_, given)| *given).map(|(field, _)| field);
        let steps = Self { epochs: default.epochs, ..self.clone() }.steps_of_head();
        let remedy = "with 0 `epochs`, the head is what the names say, and nothing is trained: leave it out, or use more `epochs`";
        unused.or(steps).map_or(Ok(()), |field| fail(field, "set", remedy))
    }

    /// Settings that a head that is solved cannot have.
    fn check_solved(&self) -> Result<()> {
        if self.head != HeadChoice::Logistic {
            return Ok(());
        }
        if self.mix != MixChoice::None {
            let remedy = "the head `logistic` is solved on pictures of one class each: leave it out, or use another `head`";
            return fail("mix", self.mix, remedy);
        }
        let remedy = "the head `logistic` is solved, not trained in steps: leave it out, or use another `head`";
        if self.epochs > 0
            && let Some(field) = self.steps_of_head()
        {
            return fail(field, "set", remedy);
        }
        if self.trains_network() {
            return Ok(());
        }
        if self.learning_rate == LearningRate::Auto {
            return fail("learning_rate", "auto", remedy);
        }
        if self.fresh_views {
            return fail("fresh_views", "set", remedy);
        }
        if self.loss.label_smoothing != 0.0 {
            return fail("label_smoothing", self.loss.label_smoothing, remedy);
        }
        if self.loss.focal_gamma != 0.0 {
            return fail("focal_gamma", self.loss.focal_gamma, remedy);
        }
        match self.dropout {
            Some(p) => fail("dropout", p, remedy),
            None => Ok(()),
        }
    }

    /// A setting of the head's training in steps that is not the default.
    fn steps_of_head(&self) -> Option<&'static str> {
        let default = Self::default();
        let fixed = |rate| matches!(rate, LearningRate::Fixed(_));
        let settings = [
            ("epochs", self.epochs != default.epochs),
            ("batch_size", self.batch_size != default.batch_size),
            ("accumulate", self.accumulate != default.accumulate),
            (
                "learning_rate",
                fixed(self.learning_rate) && self.learning_rate != default.learning_rate,
            ),
            ("optimizer", self.optimizer != default.optimizer),
            ("schedule", self.schedule != default.schedule),
            ("clip_norm", self.clip_norm != default.clip_norm),
            ("ema", self.ema != default.ema),
            ("reduce_lr", self.reduce_lr != default.reduce_lr),
            ("patience", self.patience != default.patience),
            ("min_delta", self.min_delta != default.min_delta),
        ];
        settings.into_iter().find(|(_, given)| *given).map(|(field, _)| field)
    }

    fn check_views(&self) -> Result<()> {
        if !(1..=1000).contains(&self.views) {
            return fail("views", self.views, "use 1 to 1000; 1 is the unchanged picture");
        }
        let changed = self.augment != Policy::None || self.mix != MixChoice::None;
        if self.views > 1 && !changed {
            let remedy = "without augmentation each view is the same picture: use 1, or another policy for `augment`";
            return fail("views", self.views, remedy);
        }
        if self.fresh_views && !changed {
            let remedy = "without augmentation every epoch has the same pictures: leave it out, or use another policy for `augment`";
            return fail("fresh_views", "set", remedy);
        }
        if self.mix != MixChoice::None && self.views == 1 && !self.fresh_views {
            let remedy = "view 0 is the unchanged picture, and only the others are mixed: use 2 or more `views`, or `fresh_views`";
            return fail("mix", self.mix, remedy);
        }
        Ok(())
    }

    fn check_folds(&self) -> Result<()> {
        if let (Some(expression), Some(column)) = (&self.group_by, &self.source.group_column) {
            let remedy = format!(
                "the column '{column}' (`group_column`) says the groups: leave out one of the two"
            );
            return fail("group_by", format!("'{expression}'"), remedy);
        }
        match self.seeds {
            Some(seeds) if !(2..=1000).contains(&seeds) => {
                return fail("seeds", seeds, "use 2 to 1000, or leave it out");
            }
            Some(seeds) if self.folds.is_some() && self.fold.is_none() => {
                let remedy = "each of the `folds` is trained already: leave out one of the two, or say which `fold`";
                return fail("seeds", seeds, remedy);
            }
            _ => {}
        }
        match (self.folds, self.fold) {
            (Some(folds), _) if !(2..=1000).contains(&folds) => {
                fail("folds", folds, "use 2 to 1000")
            }
            (Some(_), _) if self.val != ValChoice::Auto => {
                let remedy = "the fold is used for validation: leave out `val`, or `folds`";
                fail("val", self.val, remedy)
            }
            (Some(folds), Some(fold)) if fold >= folds => {
                fail("fold", fold, format!("{folds} folds are numbered from 0 to {}", folds - 1))
            }
            (None, Some(fold)) => fail("fold", fold, "the number of folds is missing: set `folds`"),
            _ => Ok(()),
        }
    }

    fn check_fine_tuning(&self) -> Result<()> {
        let Some(fine_tune) = self.fine_tune.as_ref().filter(|_| self.trains_network()) else {
            return Ok(());
        };
        fine_tune.check(self)?;
        match self.precision {
            PrecisionChoice::Auto | PrecisionChoice::Fixed(Precision::F32) => Ok(()),
            // Whether `auto` finds a GPU is not known yet.
            PrecisionChoice::Fixed(other) if self.device == DeviceChoice::Cpu => {
                let remedy = "a network is fine-tuned in f32 on the CPU: leave it out";
                fail("precision", other, remedy)
            }
            PrecisionChoice::Fixed(_) => Ok(()),
        }
    }

    /// The settings that steer training: callbacks and the learning-rate finder.
    fn check_steering(&self) -> Result<()> {
        if let Some(Warmup { over: Span::Epochs(epochs), .. }) = self.schedule.warmup
            && !(epochs > 0.0 && epochs < f64::from(self.epochs))
        {
            let remedy = format!(
                "training has {} `epochs`: use more than 0 and fewer than that, or leave it out",
                self.epochs
            );
            return fail("warmup", epochs, remedy);
        }
        if self.ema == Some(0.0) {
            return fail(
                "ema",
                0,
                "0 keeps no average: use more than 0, e.g. 0.99, or leave it out",
            );
        }
        if self.patience == Some(0) {
            return fail("patience", 0, "use 1 or more epochs, or leave it out");
        }
        if !(self.min_delta >= 0.0 && self.min_delta.is_finite()) {
            return fail("min_delta", self.min_delta, "use 0 or a positive number");
        }
        if self.learning_rate == LearningRate::Auto {
            // A thousand steps per epoch, to find only settings that are wrong for every data set.
            self.lr_finder.range_test(1000)?;
        }
        self.checkpoints.callback().check()?;
        if let Some(reduce) = &self.reduce_lr {
            if reduce.patience == 0 {
                return fail("reduce_lr", 0, "use 1 or more epochs, or leave it out");
            }
            reduce.clone().check()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use taper_core::Fault;

    use super::*;

    #[test]
    fn a_head_that_only_knows_names_has_nothing_to_train() {
        let names = || Recipe {
            head: HeadChoice::ZeroShot,
            model: "clip-vit-b32".into(),
            epochs: 0,
            ..Recipe::default()
        };
        names().check().unwrap();
        Recipe { epochs: 3, batch_size: 8, ..names() }.check().unwrap();
        for (recipe, field) in [
            (Recipe { batch_size: 8, ..names() }, "batch_size is"),
            (Recipe { learning_rate: LearningRate::Fixed(0.1), ..names() }, "learning_rate is"),
            (Recipe { dropout: Some(0.3), ..names() }, "dropout is"),
            (Recipe { views: 2, augment: Policy::Light, ..names() }, "views is"),
        ] {
            let error = recipe.check().unwrap_err().to_string();
            assert!(error.contains(field) && error.contains("what the names say"), "{error}");
        }
    }

    #[test]
    fn every_setting_out_of_range_is_named() {
        let default = Recipe::default;
        let cases = [
            (Recipe { epochs: 0, ..default() }, "epochs is 0"),
            (Recipe { batch_size: 0, ..default() }, "batch_size is 0"),
            (Recipe { batch_size: 1, ..default() }, "BatchNorm"),
            (Recipe { learning_rate: LearningRate::Fixed(0.0), ..default() }, "learning_rate is"),
            (
                Recipe { learning_rate: LearningRate::Fixed(f64::NAN), ..default() },
                "learning_rate is",
            ),
            (Recipe { views: 0, ..default() }, "views is 0"),
            (Recipe { views: 2, augment: Policy::None, ..default() }, "`augment`"),
            (Recipe { fresh_views: true, augment: Policy::None, ..default() }, "fresh_views is"),
            (Recipe { mix: MixChoice::MixUp { alpha: 1.0 }, ..default() }, "`views`"),
            (Recipe { folds: Some(1), ..default() }, "folds is 1"),
            (Recipe { folds: Some(3), fold: Some(3), ..default() }, "from 0 to 2"),
            (Recipe { fold: Some(0), ..default() }, "`folds`"),
            (Recipe { seeds: Some(1), ..default() }, "seeds is 1"),
            (Recipe { seeds: Some(2), folds: Some(3), ..default() }, "one of the two"),
            (
                Recipe { folds: Some(3), val: ValChoice::Fraction(0.2), ..default() },
                "leave out `val`",
            ),
            (Recipe { patience: Some(0), ..default() }, "patience is 0"),
            (Recipe { min_delta: -1.0, ..default() }, "min_delta is"),
            (Recipe { size: Some(16), ..default() }, "at least 32"),
            (Recipe { cut: Some("layer3".into()), ..default() }, "no layer 'layer3'"),
            (Recipe { dropout: Some(1.0), ..default() }, "dropout is"),
            (Recipe { dropout: Some(0.5), head: HeadChoice::Logistic, ..default() }, "solved"),
            (Recipe { fresh_views: true, head: HeadChoice::Logistic, ..default() }, "solved"),
            (Recipe { ema: Some(0.9), head: HeadChoice::Logistic, ..default() }, "ema"),
            (Recipe { patience: Some(3), head: HeadChoice::Logistic, ..default() }, "patience"),
            (Recipe { epochs: 9, head: HeadChoice::Logistic, ..default() }, "epochs"),
            (
                Recipe {
                    mix: MixChoice::MixUp { alpha: 1.0 },
                    views: 2,
                    head: HeadChoice::Logistic,
                    ..default()
                },
                "one class each",
            ),
            (Recipe { size: Some(5000), ..default() }, "size is 5000"),
            (Recipe { model: "resnet-50".into(), ..default() }, "resnet50"),
        ];
        for (recipe, expected) in cases {
            let error = recipe.check().unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.is_usage(), "{error}");
        }
    }
}
