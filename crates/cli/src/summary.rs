use std::{collections::HashSet, path::Path};

use serde_json::{Value, json};
use taper_args::SummaryArgs;
use taper_core::OutOfRange;
use taper_graph::{Graph, Summary, diagram, grouped, heads};
use taper_model::Artefact;
use taper_outputs::{OutFile, check_extension};
use taper_run::{Error, HeadChoice, model_file};

use crate::output::{Status, answer_json, answer_line};

/// A network as requested: possibly cut, with or without a head.
struct Asked {
    backbone: Graph,
    head: Option<Graph>,
    size: usize,
    /// The first layer that was trained, of a fine-tuned model.
    tuned_from: Option<String>,
}

impl Asked {
    fn new(name: &str, args: &SummaryArgs) -> Result<Self, Error> {
        if Path::new(name).exists() && taper_zoo::find(name).is_err() {
            return Self::trained(name, args);
        }
        let model = taper_zoo::find(name)?;
        let size = args.size.unwrap_or(model.preprocessing.size) as usize;
        let own = if args.cut.is_none() { "imagenet" } else { "none" };
        let asked = args.head.as_deref().unwrap_or(own);
        let backbone = match &args.cut {
            Some(_) if asked == "imagenet" => {
                let remedy =
                    "it needs the network's own features: leave out --cut, or use --head linear";
                return Err(setting("head", asked, remedy));
            }
            Some(layer) => model.graph().cut(layer)?,
            None if asked == "imagenet" => model.graph(),
            None => model.backbone(),
        };
        if let "imagenet" | "none" = asked {
            let remedy = "it applies to a new head only: give one, e.g. --head linear";
            return match (args.dropout, args.classes) {
                (Some(p), _) => Err(setting("dropout", p, remedy)),
                (_, Some(n)) => Err(setting("classes", n, remedy)),
                _ => Ok(Self { backbone, head: None, size, tuned_from: None }),
            };
        }
        let head = asked.parse::<HeadChoice>()?;
        let head = head.graph(backbone.feature_width(), args.classes.unwrap_or(3) as usize);
        let head = args.dropout.map_or(head.clone(), |p| heads::with_dropout(&head, p));
        Ok(Self { backbone, head: Some(head), size, tuned_from: None })
    }

    /// That of a trained model.
    fn trained(name: &str, args: &SummaryArgs) -> Result<Self, Error> {
        let remedy = "a trained model has its own: leave it out, or give the name of a network";
        let given = [
            ("cut", args.cut.clone()),
            ("head", args.head.clone()),
            ("classes", args.classes.map(|n| n.to_string())),
            ("dropout", args.dropout.map(|p| p.to_string())),
        ];
        if let Some((field, Some(value))) = given.into_iter().find(|(_, value)| value.is_some()) {
            return Err(setting(field, value, remedy));
        }
        let (own, _) = Artefact::open(&model_file(Path::new(name))?)?;
        let size = args.size.unwrap_or(own.preprocessing.size) as usize;
        let tuned_from = own.fine_tuning.filter(|own| own.alpha > 0.0).map(|own| own.from);
        Ok(Self { backbone: own.backbone, head: Some(own.head), size, tuned_from })
    }

    /// On its own, a network is shown as trainable; under a new head it is frozen.
    fn trainable(&self) -> bool {
        self.head.is_none()
    }

    fn summary(&self, batch: u32) -> Result<Summary, Error> {
        let (head, size) = (self.head.as_ref(), self.size);
        let mut summary = Summary::new(&self.backbone, self.trainable(), head, size, size)?;
        if let Some(from) = &self.tuned_from {
            let of_backbone = self.backbone.nodes().len();
            let nodes = self.backbone.nodes().iter();
            let tuned: HashSet<&str> =
                nodes.skip_while(|node| node.name != *from).map(|node| &*node.name).collect();
            let learned = self.backbone.parameters().into_iter().filter(|p| {
                p.kind.is_learnable() && tuned.contains(&*self.backbone.nodes()[p.node].name)
            });
            let learned: usize = learned.map(|p| p.shape.iter().product::<usize>()).sum();
            summary.parameters.trainable += learned;
            summary.parameters.non_trainable -= learned;
            for layer in summary.layers.iter_mut().take(of_backbone) {
                layer.trainable |= layer.parameters > 0 && tuned.contains(&*layer.name);
            }
        }
        Ok(summary.at_batch(batch as usize))
    }
}

fn setting(field: &'static str, value: impl ToString, remedy: &str) -> Error {
    OutOfRange::new(field, value, remedy.to_owned()).into()
}

pub(crate) fn summary(args: &SummaryArgs) -> anyhow::Result<Status> {
    let names: Vec<&str> = match Path::new(&args.model).exists() {
        true => vec![&args.model],
        false => args.model.split(',').map(str::trim).collect(),
    };
    let asked: Vec<Asked> =
        names.iter().map(|name| Asked::new(name, args)).collect::<Result<_, _>>()?;
    let summaries: Vec<Summary> =
        asked.iter().map(|asked| asked.summary(args.batch)).collect::<Result<_, _>>()?;
    if let Some(path) = &args.svg {
        check_extension("svg", path, &["svg"]).map_err(Error::from)?;
        let file = OutFile::check("svg", path, args.overwrite).map_err(Error::from)?;
        let [only] = &asked[..] else {
            let remedy = "only one network at a time can be drawn: give one --model";
            return Err(setting("svg", path.display(), remedy).into());
        };
        let (head, size) = (only.head.as_ref(), only.size);
        let svg = diagram(&only.backbone, only.trainable(), head, size, size)
            .map_err(taper_run::Error::from)?;
        file.write(svg.as_bytes()).map_err(Error::from)?;
    }
    match &summaries[..] {
        [one] if args.json => answer_json(one)?,
        [one] => answer_line(one.to_string().trim_end())?,
        several if args.json => answer_json(&several.iter().map(totals).collect::<Vec<_>>())?,
        several => side_by_side(several)?,
    }
    Ok(Status::Done)
}

/// What networks are compared by.
fn totals(summary: &Summary) -> Value {
    json!({
        "model": summary.model,
        "input": summary.input,
        "layers": summary.layers.len(),
        "parameters": summary.parameters,
        "flops": summary.flops,
        "last_feature_map": summary.last_feature_map,
        "receptive_field": summary.receptive_field,
        "activations": summary.activations,
        "warnings": summary.warnings,
    })
}

/// What a row of the comparison shows of a network.
type Cell<'a> = &'a dyn Fn(&Summary) -> String;

fn side_by_side(summaries: &[Summary]) -> anyhow::Result<()> {
    let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let shape = |dims: &[usize]| dims.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
    let rows: [(&str, Cell<'_>); 10] = [
        ("", &|s| s.model.clone()),
        ("input", &|s| shape(&s.input)),
        ("layers", &|s| s.layers.len().to_string()),
        ("parameters", &|s| grouped(s.parameters.total as u64)),
        ("trainable", &|s| grouped(s.parameters.trainable as u64)),
        ("GFLOP per picture", &|s| format!("{:.2}", s.flops as f64 / 1e9)),
        ("last feature map", &|s| shape(&s.last_feature_map)),
        ("receptive field", &|s| s.receptive_field.map_or("all".into(), |side| side.to_string())),
        ("activations, inference", &|s| mebibytes(s.activations.inference_bytes)),
        ("activations, training", &|s| mebibytes(s.activations.training_bytes)),
    ];
    let widths: Vec<usize> = summaries
        .iter()
        .map(|s| rows.iter().map(|(_, cell)| cell(s).chars().count()).max().unwrap_or(0))
        .collect();
    for (label, cell) in rows {
        let cells = summaries.iter().zip(&widths).map(|(s, &w)| format!("{:>w$}", cell(s)));
        answer_line(&format!("{label:22}  {}", cells.collect::<Vec<_>>().join("  ")))?;
    }
    for summary in summaries {
        for warning in &summary.warnings {
            answer_line(&format!("warning: {}: {warning}", summary.model))?;
        }
    }
    Ok(())
}
