use crate::{Activation, FusedOp, ParameterKind, Shape};

/// The interface of a kind of layer: what shapes, summary, drawing, cutting and fusing need to
/// know.
///
/// No method has a default, so that a new operation does not compile before it implements all of
/// them. `inputs` has as many entries as [`arity`](Operation::arity) says; the graph's builder and
/// its JSON reader both ensure this.
pub(crate) trait Operation {
    /// The kind's usual name.
    fn kind(&self) -> &'static str;

    /// How many inputs it takes.
    fn arity(&self) -> usize;

    /// The output's shape; `picture` is the height and width of the network's input.
    ///
    /// # Errors
    /// A description of what does not fit.
    fn output(&self, inputs: &[Shape], picture: [usize; 2]) -> Result<Shape, String>;

    /// The output's channels, which do not depend on the picture's size.
    fn channels(&self, inputs: &[usize]) -> usize;

    /// The output's form, which does not depend on the picture's size.
    fn form(&self, inputs: &[Form]) -> Form;

    /// Its tensors in torch's layout and order; `layer` is the layer's name.
    fn tensors(&self, layer: &str) -> Vec<Tensor>;

    /// Floating-point operations for one picture; a multiply-add counts as two.
    fn flops(&self, inputs: &[Shape], output: Shape) -> u64;

    /// How many intermediate numbers it computes for one picture, besides its output, that a
    /// backward pass needs too.
    fn hidden(&self, inputs: &[Shape]) -> usize;

    /// The part of its input that one value of its output depends on.
    fn view(&self) -> View;

    /// What it does, for a drawing, if worth mentioning; `first` if it begins a block.
    fn description(&self, first: bool) -> Option<String>;

    /// Whether a drawing includes it in the box of the layer before it.
    fn follows(&self) -> bool;

    /// What becomes of it in a frozen network.
    fn fusing(&self) -> Fusing;
}

/// The form of activations, without their sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Map,
    Tokens,
    Vector,
}

/// A tensor of a layer: its whole name, its shape, what it is for.
pub(crate) type Tensor = (String, Vec<usize>, ParameterKind);

/// The part of the input that a value depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// The same position.
    Position,
    /// A window of positions.
    Window { kernel: usize, stride: usize, dilation: usize },
    /// All of it.
    Everything,
}

/// What becomes of a layer in a frozen network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fusing {
    /// The network's input, which is not computed.
    Source,
    /// It does nothing.
    Nothing,
    /// A step of its own.
    Step {
        op: FusedOp,
        /// How many scales and shifts it has; none for pooling.
        channels: usize,
        /// Whether it has a tensor `bias`.
        bias: bool,
        /// Whether following layers can be fused into it.
        open: bool,
    },
    /// Folded into the step before: batch normalisation with this ε.
    BatchNorm { eps: f64 },
    /// Folded into the step before: a factor per channel.
    LayerScale,
    /// Added at the end of the step that computes one of its inputs.
    Add,
    /// Applied at the end of the step before.
    Activation(Activation),
    /// Part of heads, which are not compiled.
    HeadOnly,
}

/// An error unless there are `wanted` channels.
pub(crate) fn expect_channels(input: Shape, wanted: usize) -> Result<(), String> {
    match input.channels() {
        found if found == wanted => Ok(()),
        found => Err(format!("needs {wanted} channels, gets {found}")),
    }
}

/// The error of a layer that slides a window over a map when its input is something else.
pub(crate) fn needs_map(input: Shape) -> String {
    format!("needs a feature map, gets {}", input.described())
}

/// `layer.weight` of a normalisation and `layer.bias`.
pub(crate) fn norm_tensors(layer: &str, channels: usize) -> Vec<Tensor> {
    vec![
        (format!("{layer}.weight"), vec![channels], ParameterKind::Scale),
        (format!("{layer}.bias"), vec![channels], ParameterKind::Bias),
    ]
}

/// `layer.weight` of this shape, and `layer.bias` for its first dimension if there is one.
pub(crate) fn product_tensors(layer: &str, shape: Vec<usize>, bias: bool) -> Vec<Tensor> {
    let out = shape[0];
    let mut all = vec![(format!("{layer}.weight"), shape, ParameterKind::Weight)];
    if bias {
        all.push((format!("{layer}.bias"), vec![out], ParameterKind::Bias));
    }
    all
}
