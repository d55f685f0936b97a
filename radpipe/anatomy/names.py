"""The names of what `measures` measures, in its order: a classifier that was trained on them finds them by name."""

from __future__ import annotations

NAMES: tuple[str, ...] = (
    "ctr", "heart_widest", "heart_right", "heart_left", "heart_left_share", "heart_area", "heart_area_of_lungs",
    "heart_contrast_right", "heart_contrast_left", "heart_grey", "retrocardiac_left", "retrocardiac_difference",
    "ctr_own_walls", "mediastinum_15", "mediastinum_30", "mediastinum_45", "mediastinum_60", "mediastinum_75",
    "mediastinum_shape", "border_30_right", "border_45_right", "border_60_right", "border_75_right", "border_30_left",
    "border_45_left", "border_60_left", "border_75_left", "mediastinum_shift", "lung_area_right", "lung_area_left",
    "lung_area_ratio", "lung_height_ratio", "lung_width_ratio", "lung_slimness_right", "lung_slimness_left",
    "thorax_slimness", "thorax_area_of_frame", "thorax_upper_width", "apex_difference", "diaphragm_height_right",
    "costophrenic_depth_right", "costophrenic_angle_right", "costophrenic_grey_right", "diaphragm_arch_right",
    "diaphragm_contrast_right", "wall_contrast_right", "diaphragm_height_left", "costophrenic_depth_left",
    "costophrenic_angle_left", "costophrenic_grey_left", "diaphragm_arch_left", "diaphragm_contrast_left",
    "wall_contrast_left", "diaphragm_difference", "grey_right", "grey_spread_right", "dark_share_right",
    "bright_share_right", "rim_grey_right", "rim_middle_right", "apex_grey_right", "apex_texture_right",
    "grey_upper_right", "grey_deviation_upper_right", "fine_upper_right", "middle_upper_right", "coarse_upper_right",
    "steep_upper_right", "grey_middle_right", "grey_deviation_middle_right", "fine_middle_right", "middle_middle_right",
    "coarse_middle_right", "steep_middle_right", "grey_lower_right", "grey_deviation_lower_right", "fine_lower_right",
    "middle_lower_right", "coarse_lower_right", "steep_lower_right", "grey_left", "grey_spread_left", "dark_share_left",
    "bright_share_left", "rim_grey_left", "rim_middle_left", "apex_grey_left", "apex_texture_left", "grey_upper_left",
    "grey_deviation_upper_left", "fine_upper_left", "middle_upper_left", "coarse_upper_left", "steep_upper_left",
    "grey_middle_left", "grey_deviation_middle_left", "fine_middle_left", "middle_middle_left", "coarse_middle_left",
    "steep_middle_left", "grey_lower_left", "grey_deviation_lower_left", "fine_lower_left", "middle_lower_left",
    "coarse_lower_left", "steep_lower_left", "grey_upper_apart", "middle_upper_apart", "grey_middle_apart",
    "middle_middle_apart", "grey_lower_apart", "middle_lower_apart", "grey_gradient_right", "grey_gradient_left",
    "grey_apart", "lungs_median_grey",
)  # fmt: skip
