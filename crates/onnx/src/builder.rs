use crate::proto::{Attribute, DataType, Entry, Graph, Node, Tensor, Value};

/// The graph of an ONNX file in the making. Values have the names of the nodes that make them.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    nodes: Vec<Node>,
    initializers: Vec<Tensor>,
}

impl Builder {
    /// Adds a node with one output, which has the node's name.
    pub(crate) fn node(
        &mut self,
        op: &str,
        name: impl Into<String>,
        inputs: &[&str],
        attributes: Vec<Attribute>,
    ) -> String {
        let name = name.into();
        self.nodes.push(Node {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: op.into(),
            attribute: attributes,
        });
        name
    }

    /// Adds a tensor of f32 in row-major order.
    pub(crate) fn floats(
        &mut self,
        name: impl Into<String>,
        dims: &[usize],
        values: &[f32],
    ) -> String {
        debug_assert_eq!(dims.iter().product::<usize>(), values.len());
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(name.into(), dims, DataType::Float, bytes, Vec::new())
    }

    /// Adds a number.
    pub(crate) fn number(&mut self, name: impl Into<String>, value: f32) -> String {
        self.floats(name, &[], &[value])
    }

    /// Adds a list of i64.
    pub(crate) fn integers(&mut self, name: impl Into<String>, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(name.into(), &[values.len()], DataType::Int64, bytes, Vec::new())
    }

    /// Adds a single i64, which removes a dimension where it is an index.
    pub(crate) fn index(&mut self, name: impl Into<String>, value: i64) -> String {
        let bytes = value.to_le_bytes().to_vec();
        self.tensor(name.into(), &[], DataType::Int64, bytes, Vec::new())
    }

    /// Adds a list of texts.
    pub(crate) fn texts<'a>(
        &mut self,
        name: impl Into<String>,
        texts: impl Iterator<Item = &'a str>,
    ) -> String {
        let texts: Vec<Vec<u8>> = texts.map(|text| text.as_bytes().to_vec()).collect();
        self.tensor(name.into(), &[texts.len()], DataType::String, Vec::new(), texts)
    }

    fn tensor(
        &mut self,
        name: String,
        dims: &[usize],
        data_type: DataType,
        raw_data: Vec<u8>,
        string_data: Vec<Vec<u8>>,
    ) -> String {
        self.initializers.push(Tensor {
            dims: dims.iter().map(|&n| n as i64).collect(),
            data_type: data_type as i32,
            string_data,
            name: name.clone(),
            raw_data,
        });
        name
    }

    /// The finished graph.
    pub(crate) fn finish(self, name: &str, input: Value, output: Vec<Value>) -> Graph {
        Graph {
            node: self.nodes,
            name: name.into(),
            initializer: self.initializers,
            input: vec![input],
            output,
        }
    }
}

/// Texts by key, in the order of the keys.
pub(crate) fn entries(texts: std::collections::BTreeMap<String, String>) -> Vec<Entry> {
    texts.into_iter().map(|(key, value)| Entry { key, value }).collect()
}
