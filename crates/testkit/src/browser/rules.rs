//! Accessibility checks for every page. Each check returns the faults that it finds, as text.

use serde_json::json;

use super::Page;

/// Runs in the page and returns the faults that it finds.
const LOOK: &str = include_str!("rules.js");

impl Page {
    /// Asserts that the page has no accessibility faults.
    pub async fn assert_accessible(&self) {
        let wrong = self.accessibility_faults().await;
        assert!(wrong.is_empty(), "{}: {wrong:#?}", self.path().await);
    }

    /// Checks contrast, sizes of targets, names and labels, width and keyboard access, the rules of
    /// axe-core, and that the browser reports no error.
    pub async fn accessibility_faults(&self) -> Vec<String> {
        let mut wrong: Vec<String> = self.run(LOOK, json!([])).await;
        wrong.extend(self.controls_without_name().await);
        wrong.extend(self.controls_out_of_reach().await);
        // axe-core needs the timers of the page.
        if self.reader.javascript {
            wrong.extend(self.axe_violations().await);
        }
        wrong.extend(self.errors());
        wrong
    }

    /// Finds controls and images without a name for screen readers.
    async fn controls_without_name(&self) -> Vec<String> {
        const NAMED: [&str; 10] = [
            "button",
            "checkbox",
            "combobox",
            "DisclosureTriangle",
            "image",
            "link",
            "radio",
            "region",
            "searchbox",
            "textbox",
        ];
        let tree = self.accessibility_tree().await.into_iter();
        tree.filter(|(role, name)| name.is_empty() && NAMED.contains(&role.as_str()))
            .map(|(role, _)| format!("a {role} without a name"))
            .collect()
    }

    /// Finds controls that Tab does not reach, or whose focus is invisible.
    async fn controls_out_of_reach(&self) -> Vec<String> {
        const BEGIN: &str = "() => {
            window.reached = new Set();
            window.controls = () => [...document.querySelectorAll(
                'a[href], button, input, select, textarea, summary, [tabindex=\"0\"]')]
                .filter((one) => one.checkVisibility() && !one.disabled);
            return controls().length;
        }";
        // The browser's own frame is between the last control and the first.
        const STEP: &str = "() => {
            const here = document.activeElement;
            if (!here || here === document.body) return '';
            if (reached.has(here)) return 'end';
            reached.add(here);
            const { outlineStyle, outlineWidth } = getComputedStyle(here);
            const seen = outlineStyle !== 'none' && parseFloat(outlineWidth) >= 1;
            return seen ? '' : `its focus cannot be seen: ${here.outerHTML.slice(0, 120)}`;
        }";
        const END: &str = "() => controls().filter((one) => !reached.has(one))
            .map((one) => `Tab does not reach ${one.outerHTML.slice(0, 120)}`)";
        let controls: usize = self.run(BEGIN, json!([])).await;
        let mut wrong = Vec::new();
        // Some controls appear only with the focus: the buttons of a row.
        for _ in 0..8 * (controls + 1) {
            self.press_key("Tab").await;
            match self.run::<String>(STEP, json!([])).await.as_str() {
                "" => {}
                "end" => break,
                fault => wrong.push(fault.to_owned()),
            }
        }
        wrong.extend(self.run::<Vec<String>>(END, json!([])).await);
        wrong
    }
}
