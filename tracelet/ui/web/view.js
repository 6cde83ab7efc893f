// One page's content, as a component of NiceGUI: loads the page's module, hands it its element, and passes on pushes.
const PAGES = {
  runs: () => import("tracelet-web/runs.js"),
  run: () => import("tracelet-web/run.js"),
  compare: () => import("tracelet-web/compare.js"),
};

export default {
  template: `<div class="tl-view"></div>`,
  props: { page: String, run: String },
  async mounted() {
    const { start } = await PAGES[this.page]();
    const { keyboard } = await import("tracelet-web/keyboard.js");
    if (!this.$el.isConnected) return;
    keyboard();
    this.shown = await start(this.$el, { run: this.run, watch: (ids) => this.$emit("watch", ids) });
    for (const ids of this.early ?? []) this.shown.changed?.(ids);
  },
  unmounted() {
    this.shown?.stop?.();
  },
  methods: {
    changed(ids) {
      if (this.shown) this.shown.changed?.(ids);
      else (this.early ??= []).push(ids);
    },
  },
};
