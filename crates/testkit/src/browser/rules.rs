//! What must hold for every page, whoever reads it. Each check gives what is wrong, in words.

use serde_json::json;

use super::Page;

/// Runs in the page and gives one list of complaints for each check.
const LOOK: &str = include_str!("rules.js");

impl Page {
    /// Panics unless everything holds that must for the page as it stands.
    pub async fn is_sound(&self) {
        let wrong = self.faults().await;
        assert!(wrong.is_empty(), "{}: {wrong:#?}", self.path().await);
    }

    /// What does not hold of what must for the page as it stands: contrast, sizes of targets,
    /// names and labels, width, the keyboard, and that the browser has nothing to complain of.
    pub async fn faults(&self) -> Vec<String> {
        let mut wrong: Vec<String> = self.run(LOOK, json!([])).await;
        wrong.extend(self.nameless().await);
        wrong.extend(self.out_of_reach().await);
        wrong.extend(self.complaints());
        wrong
    }

    /// Controls and pictures that a screen reader has no name for.
    async fn nameless(&self) -> Vec<String> {
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
        let heard = self.heard().await.into_iter();
        heard
            .filter(|(role, name)| name.is_empty() && NAMED.contains(&role.as_str()))
            .map(|(role, _)| format!("a {role} without a name"))
            .collect()
    }

    /// Controls that Tab does not reach, or whose focus cannot be seen.
    async fn out_of_reach(&self) -> Vec<String> {
        const BEGIN: &str = "() => {
            window.reached = new Set();
            window.controls = () => [...document.querySelectorAll(
                'a[href], button, input, select, textarea, summary, [tabindex=\"0\"]')]
                .filter((one) => one.checkVisibility() && !one.disabled);
            return controls().length;
        }";
        // Between the last control and the first lies the browser's own frame.
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
        for _ in 0..controls + 8 {
            self.key("Tab").await;
            match self.run::<String>(STEP, json!([])).await.as_str() {
                "" => {}
                "end" => break,
                complaint => wrong.push(complaint.to_owned()),
            }
        }
        wrong.extend(self.run::<Vec<String>>(END, json!([])).await);
        wrong
    }
}
