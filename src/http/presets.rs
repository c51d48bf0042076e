//! `/api/presets`: the named recipes that there are.

use actix_web::HttpResponse;
use serde::Serialize;
use serde_json::{Map, Value};

use super::AppData;

/// All presets.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Presets)]
pub struct PresetsJson {
    presets: Vec<PresetJson>,
}

/// A recipe without source and times.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Preset)]
struct PresetJson {
    name: String,
    /// Fields of a recipe.
    #[schema(value_type = Object)]
    fields: Map<String, Value>,
}

/// Lists the presets, whose names a recipe may give as `preset`.
#[utoipa::path(get, path = "/api/presets", tag = "clips", responses((status = 200, body = PresetsJson)))]
pub async fn list(app: AppData) -> HttpResponse {
    let presets = app.settings.presets.all().map(|(name, fields)| PresetJson {
        name: name.to_owned(),
        fields: fields.clone(),
    });
    HttpResponse::Ok().json(PresetsJson {
        presets: presets.collect(),
    })
}
