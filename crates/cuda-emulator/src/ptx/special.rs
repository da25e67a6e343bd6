//! Special registers: the position of a thread.

use super::program::Special;

/// What a name stands for.
pub(super) fn special(name: &str) -> Option<Special> {
    let name = name.strip_prefix('%')?;
    let axis = |text: &str| ["x", "y", "z"].iter().position(|a| *a == text).map(|a| a as u8);
    if let Some((name, which)) = name.split_once('.') {
        let axis = axis(which)?;
        return Some(match name {
            "tid" => Special::Thread(axis),
            "ntid" => Special::BlockSize(axis),
            "ctaid" => Special::Block(axis),
            "nctaid" => Special::GridSize(axis),
            _ => return None,
        });
    }
    Some(match name {
        "laneid" => Special::Lane,
        "warpid" => Special::WarpNumber,
        "lanemask_lt" => Special::LanesBelow,
        "lanemask_le" => Special::LanesUpTo,
        "lanemask_gt" => Special::LanesAbove,
        "dynamic_smem_size" => Special::DynamicShared,
        "total_smem_size" => Special::TotalShared,
        "clock" | "clock64" | "globaltimer" => Special::Clock,
        "smid" => Special::Zero,
        _ => return None,
    })
}
