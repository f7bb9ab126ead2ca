"""What lies in a `.lupi` folder: graphs, manifest, engines, signature; read as if strangers had written it."""
