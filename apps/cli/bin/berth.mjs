#!/usr/bin/env node
// Starts `berth`: see launch.mjs.
import { launch } from "./launch.mjs";

await launch("berth", import.meta.url);
