//! `defect!(NAME => wrong; right)`: `right`, but in a model that has planted the defect of that name.

#[cfg(not(loom))]
macro_rules! defect {
    ($name:ident => $wrong:expr; $right:expr) => {
        $right
    };
}

#[cfg(loom)]
macro_rules! defect {
    ($name:ident => $wrong:expr; $right:expr) => {
        match $crate::defect::is_planted($crate::defect::Defect::$name) {
            true => $wrong,
            false => $right,
        }
    };
}
