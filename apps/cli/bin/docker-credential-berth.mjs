#!/usr/bin/env node
// Starts `docker-credential-berth`: see launch.mjs.
import { launch } from "./launch.mjs";

await launch("docker-credential-berth", import.meta.url);
